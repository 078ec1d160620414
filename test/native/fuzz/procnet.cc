// A file of /proc/net, in pieces of the size that the first byte tells.
#include "fuzz.h"

using namespace berth;

namespace {

// What the lines say, as one text.
std::string told(std::string_view text, size_t piece) {
  std::string all;
  Lines lines;
  for (size_t at = 0; at < text.size(); at += piece) {
    std::vector<uint8_t> part = alone(reinterpret_cast<const uint8_t*>(text.data()) + at,
                                      std::min(piece, text.size() - at));
    lines.feed(std::string_view(reinterpret_cast<char*>(part.data()), part.size()), [&](std::string_view line) {
      MUST(line.find('\n') == std::string_view::npos);
      for (int kind = 0; kind < 4; kind++) {
        SocketRow row;
        if (!parseProcSocket(line, kind & 1, kind & 2, &row)) continue;
        MUST(row.state < 32);
        all.append(reinterpret_cast<const char*>(&row), sizeof(row));
      }
      UnixListener listener;
      if (parseProcUnix(line, &listener)) all += std::to_string(listener.inode) + listener.path;
    });
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  if (length == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, length - 1);
  MUST(told(text, 1 + data[0]) == told(text, length));
  return 0;
}
