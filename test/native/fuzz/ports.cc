// Ports, two bytes each: the program for the kernel accepts them (64 are tried), and of the others only what coarsening
// lets through. Run as net/ipv4/inet_diag.c does it: inet_diag_bc_run, and inet_diag_bc_audit's rule that a jump goes forward.
#include <linux/inet_diag.h>

#include "fuzz.h"

using namespace berth;

namespace {

constexpr size_t kLongest = 65531;  // of an attribute

bool accepts(const std::vector<uint8_t>& program, uint16_t port) {
  size_t at = 0;
  while (at < program.size()) {
    inet_diag_bc_op op, argument{};
    MUST(at + sizeof(op) <= program.size());
    std::memcpy(&op, &program[at], sizeof(op));
    if (op.code != INET_DIAG_BC_JMP) {
      MUST(at + 8 <= program.size());
      std::memcpy(&argument, &program[at + 4], sizeof(argument));
    }
    bool yes = (op.code == INET_DIAG_BC_S_GE && port >= argument.no) ||
               (op.code == INET_DIAG_BC_S_LE && port <= argument.no) ||
               (op.code == INET_DIAG_BC_S_EQ && port == argument.no);
    size_t step = yes ? op.yes : op.no;
    MUST(step >= sizeof(op) && step % 4 == 0);
    at += step;
  }
  return at == program.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t length) {
  std::vector<uint16_t> ports(length / 2);
  if (!ports.empty()) std::memcpy(ports.data(), data, ports.size() * 2);
  std::vector<uint8_t> program = portProgram(ports);
  MUST(program.size() <= kLongest && program.empty() == ports.empty());
  if (ports.empty()) return 0;
  PortBits wanted(ports);
  constexpr size_t kExact = 2000;  // portprogram.cc, kMaxRanges
  for (size_t i = 0; i < ports.size(); i += 1 + ports.size() / 64) {
    uint16_t port = ports[i];
    MUST(accepts(program, port));
    for (uint16_t near : {static_cast<uint16_t>(port - 1), static_cast<uint16_t>(port + 1)})
      if (ports.size() <= kExact && !wanted.has(near)) MUST(!accepts(program, near));
  }
  return 0;
}
