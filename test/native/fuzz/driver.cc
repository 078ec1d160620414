// libFuzzer's main for compilers that lack it: runs the inputs given, then mutations of them. It does not look at what
// they reach; the same seed makes the same inputs. Knows of libFuzzer's options -runs, -seed, -max_total_time,
// -artifact_prefix, and ends with the same statistics.
#include <dirent.h>
#include <sanitizer/common_interface_defs.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "fuzz.h"

namespace {

using Input = std::vector<uint8_t>;
constexpr size_t kLongest = 4096;

std::map<std::string, std::string> options{
    {"runs", "-1"}, {"seed", "1"}, {"max_total_time", "0"}, {"artifact_prefix", "./"}};
Input current;

void keep() {
  std::string path = options["artifact_prefix"] + "crash";
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<char*>(current.data()), static_cast<long>(current.size()));
  std::fprintf(stderr, "Test unit written to %s\n", path.c_str());
}

Input read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return Input(std::istreambuf_iterator<char>(file), {});
}

std::vector<Input> corpus(const std::string& path) {
  std::vector<Input> inputs;
  DIR* directory = ::opendir(path.c_str());
  if (!directory) return {read(path)};
  while (dirent* entry = ::readdir(directory))
    if (entry->d_name[0] != '.') inputs.push_back(read(path + "/" + entry->d_name));
  ::closedir(directory);
  return inputs;
}

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  Input mutate(const std::vector<Input>& inputs) {
    Input input = inputs.empty() ? Input() : inputs[below(inputs.size())];
    for (size_t times = 1 + below(4); times > 0; times--) once(&input, inputs);
    if (input.size() > kLongest) input.resize(kLongest);
    return input;
  }

 private:
  size_t below(size_t limit) { return limit ? random_() % limit : 0; }

  void once(Input* input, const std::vector<Input>& inputs) {
    static constexpr uint32_t telling[] = {0, 1, 4, 8, 16, 0x7f, 0x80, 0xff, 0xfffc, 0xffff, 0x7fffffff, 0xffffffff};
    size_t at = below(input->size() + 1), length = below(std::min<size_t>(16, input->size() - at) + 1);
    auto here = input->begin() + static_cast<long>(at), there = here + static_cast<long>(length);
    switch (below(7)) {
      case 0:
        if (here != input->end()) *here ^= static_cast<uint8_t>(1u << below(8));
        return;
      case 1:
        if (here != input->end()) *here = static_cast<uint8_t>(random_());
        return;
      case 2: {
        uint32_t value = telling[below(std::size(telling))];
        if (here != input->end()) std::memcpy(&*here, &value, std::min(size_t{1} << below(3), input->size() - at));
        return;
      }
      case 3:
        input->erase(here, there);
        return;
      case 4: {
        Input again(here, there);
        input->insert(here, again.begin(), again.end());
        return;
      }
      case 5:
        input->insert(here, static_cast<uint8_t>(random_()));
        return;
      default: {
        const Input& other = inputs.empty() ? *input : inputs[below(inputs.size())];
        Input tail(other.begin() + static_cast<long>(below(other.size() + 1)), other.end());
        input->erase(here, input->end());
        input->insert(input->end(), tail.begin(), tail.end());
      }
    }
  }

  std::mt19937 random_;
};

}  // namespace

int main(int count, char** arguments) {
  std::vector<Input> inputs;
  for (int i = 1; i < count; i++) {
    std::string argument = arguments[i];
    size_t equals = argument.find('=');
    if (argument[0] == '-' && equals != std::string::npos) {
      options[argument.substr(1, equals - 1)] = argument.substr(equals + 1);
    } else {
      for (Input& input : corpus(argument)) inputs.push_back(std::move(input));
    }
  }
  __sanitizer_set_death_callback(keep);
  auto runs = std::stoll(options["runs"]), most = std::stoll(options["max_total_time"]), done = 0LL;
  auto began = std::chrono::steady_clock::now();
  Mutator mutator(static_cast<uint32_t>(std::stoul(options["seed"])));
  auto run = [&](Input input) {
    current = std::move(input);
    LLVMFuzzerTestOneInput(current.data(), current.size());
    done++;
  };
  for (const Input& input : inputs) run(input);
  auto inTime = [&] {
    return most == 0 || std::chrono::steady_clock::now() - began < std::chrono::seconds(most);
  };
  while ((runs < 0 || done < runs) && inTime()) run(mutator.mutate(inputs));
  std::printf("stat::number_of_executed_units: %lld\n", done);
  return 0;
}
