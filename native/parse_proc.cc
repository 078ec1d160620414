// What /proc tells, proc(5). Scanned without sscanf(3) and strtoul(3): they would read on into the next field, or past
// the end, where one is missing.
#include "parse.h"

namespace berth {

namespace {

constexpr unsigned kNewSynReceived = 12;
constexpr uint8_t kSynReceived = 3;
constexpr unsigned kLastState = 31;  // states are asked for by bits of one word
constexpr uint32_t kAcceptsConnections = 1u << 16;  // __SO_ACCEPTCON, include/linux/net.h

// Text from left to right. What does not fit makes it bad for good.
class Scan {
 public:
  explicit Scan(std::string_view text) : text_(text) {}
  bool ok() const { return ok_; }
  std::string_view rest() const { return text_; }

  // Blanks, then digits; bad beyond the range of T.
  template <typename T>
  T number(int base) {
    while (!text_.empty() && text_.front() == ' ') text_.remove_prefix(1);
    return digits<T>(text_.size(), base);
  }
  // Exactly eight digits of base 16.
  uint32_t word() { return text_.size() < 8 ? fail() : digits<uint32_t>(8, 16, true); }
  void expect(char next) {
    if (text_.empty() || text_.front() != next) ok_ = false;
    if (ok_) text_.remove_prefix(1);
  }
  // Past the next blank.
  void field() {
    size_t blank = text_.find(' ');
    if (blank == std::string_view::npos) ok_ = false;
    text_.remove_prefix(ok_ ? blank + 1 : text_.size());
  }

 private:
  template <typename T>
  T digits(size_t most, int base, bool exactly = false) {
    T value{};
    auto [end, error] = std::from_chars(text_.data(), text_.data() + most, value, base);
    auto length = static_cast<size_t>(end - text_.data());
    if (error != std::errc() || (exactly && length != most)) return static_cast<T>(fail());
    text_.remove_prefix(length);
    return value;
  }
  uint32_t fail() {
    ok_ = false;
    return 0;
  }

  std::string_view text_;
  bool ok_ = true;
};

// Addresses are printed as host-order words of the network-order bytes: reading a word back restores them.
void scanAddress(Scan* in, bool v6, uint8_t* address, uint16_t* port) {
  for (size_t i = 0; i < (v6 ? 4 : 1); i++) {
    uint32_t value = in->word();
    std::memcpy(address + 4 * i, &value, 4);
  }
  in->expect(':');
  *port = in->number<uint16_t>(16);
}

}  // namespace

bool parseProcSocket(std::string_view line, bool v6, bool udp, SocketRow* row) {
  Scan in(line);
  in.number<uint32_t>(10);
  in.expect(':');
  in.expect(' ');
  scanAddress(&in, v6, row->local, &row->localPort);
  in.expect(' ');
  scanAddress(&in, v6, row->remote, &row->remotePort);
  auto state = in.number<unsigned>(16);
  in.number<uint32_t>(16);  // bytes to be sent : to be read
  in.expect(':');
  in.number<uint32_t>(16);
  row->timer = in.number<uint8_t>(16);
  in.expect(':');
  row->expires = static_cast<uint32_t>(in.number<uint64_t>(16));
  in.number<uint32_t>(16);  // retransmissions
  row->uid = in.number<uint32_t>(10);
  in.number<uint32_t>(10);  // probes
  row->inode = static_cast<uint32_t>(in.number<uint64_t>(10));
  row->family = v6 ? 6 : 4;
  row->udp = udp;
  row->state = static_cast<uint8_t>(state == kNewSynReceived ? kSynReceived : state);
  return in.ok() && state <= kLastState;
}

bool parseProcUnix(std::string_view line, UnixListener* listener) {
  Scan in(line);
  in.number<uint64_t>(16);  // address in the kernel
  in.expect(':');
  in.number<uint32_t>(16);  // references
  in.number<uint32_t>(16);  // protocol
  auto flags = in.number<uint32_t>(16);
  in.number<uint32_t>(16);  // type
  in.number<uint32_t>(16);  // state
  listener->inode = static_cast<uint32_t>(in.number<uint64_t>(10));
  if (!in.ok() || !(flags & kAcceptsConnections)) return false;
  std::string_view path = in.rest();
  if (!path.empty()) path.remove_prefix(1);
  listener->abstract = !path.empty() && path.front() == '@';
  listener->path = listener->abstract ? path.substr(1) : path;
  return true;
}

bool parseProcStat(std::string_view text, ProcessStat* stat) {
  // The name (field 2) stands in parentheses and may itself hold blanks and parentheses: count from the last one.
  size_t name = text.rfind(')');
  if (name == std::string_view::npos) return false;
  Scan in(text.substr(name));
  for (int field = 3; field <= 52; field++) {
    in.field();
    if (field == 3 && !in.rest().empty()) stat->state = in.rest().front();
    if (field == 22) stat->startTicks = in.number<uint64_t>(10);
    if (field == 52) stat->waitStatus = in.number<int>(10);
  }
  return in.ok();
}

bool parseSocketLink(std::string_view target, uint32_t* inode) {
  constexpr std::string_view kPrefix = "socket:[";
  if (target.substr(0, kPrefix.size()) != kPrefix) return false;
  Scan in(target.substr(kPrefix.size()));
  *inode = in.number<uint32_t>(10);
  in.expect(']');
  return in.ok();
}

}  // namespace berth
