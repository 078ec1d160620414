// Plain assertions for the native tests: a failed one is printed and counted, and the test goes on.
#pragma once

#include <dirent.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

struct Test {
  const char* name;
  std::function<void()> run;
};
inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
inline int& failures() {
  static int count = 0;
  return count;
}

#define TEST_NAME2(line) test_at_##line
#define TEST_NAME(line) TEST_NAME2(line)
#define TEST(name, ...) static const bool TEST_NAME(__LINE__) = (tests().push_back({name, __VA_ARGS__}), true)
#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      failures()++;                                                         \
      std::printf("  %s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                       \
  } while (0)
#define CHECK_EQUAL(actual, expected)                                                                          \
  do {                                                                                                         \
    long long is = static_cast<long long>(actual), should = static_cast<long long>(expected);                  \
    if (is != should) {                                                                                        \
      failures()++;                                                                                            \
      std::printf("  %s:%d: %s is %lld, not %s (%lld)\n", __FILE__, __LINE__, #actual, is, #expected, should); \
    }                                                                                                          \
  } while (0)

inline int openFiles() {
  int count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory)) count++;
  ::closedir(directory);
  return count;
}
