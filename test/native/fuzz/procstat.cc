// /proc/PID/stat, whose second field its process chooses, and the target of a link of /proc/PID/fd.
#include "fuzz.h"

using namespace berth;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  std::vector<uint8_t> bytes = alone(data, length);
  std::string_view text(reinterpret_cast<char*>(bytes.data()), length);
  ProcessStat stat;
  parseProcStat(text, &stat);
  uint32_t inode = 0;
  if (parseSocketLink(text, &inode)) MUST(text.substr(0, 8) == "socket:[");
  return 0;
}
