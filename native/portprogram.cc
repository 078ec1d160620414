// The port filter as inet_diag byte code. The kernel checks a program in O(length^2) and its jumps are 16 bits wide, so
// a long list is coarsened: the smallest gaps between ranges are let through and PortBits is the exact filter behind
// it.
#include <linux/inet_diag.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernel.h"

namespace berth {

namespace {

using Range = std::pair<uint16_t, uint16_t>;

// 20 bytes each make 40 KiB, well below the 65531 bytes that an attribute can hold; the check then takes about 9 ms.
constexpr size_t kMaxRanges = 2000;

std::vector<Range> toRanges(std::vector<uint16_t> ports) {
  std::sort(ports.begin(), ports.end());
  std::vector<Range> ranges;
  for (uint16_t port : ports) {
    if (!ranges.empty() && port <= ranges.back().second + 1) {
      ranges.back().second = port;
    } else {
      ranges.emplace_back(port, port);
    }
  }
  return ranges;
}

// Closes the smallest gaps until at most `limit` ranges are left.
std::vector<Range> coarsen(const std::vector<Range>& ranges, size_t limit) {
  if (ranges.size() <= limit) return ranges;
  std::vector<size_t> gaps(ranges.size() - 1);  // gap i lies before range i + 1
  for (size_t i = 0; i < gaps.size(); i++) gaps[i] = i;
  auto width = [&](size_t i) { return ranges[i + 1].first - ranges[i].second; };
  size_t closed = ranges.size() - limit;
  std::nth_element(gaps.begin(), gaps.begin() + static_cast<ptrdiff_t>(closed), gaps.end(),
                   [&](size_t a, size_t b) { return width(a) < width(b); });
  std::vector<bool> close(gaps.size());
  for (size_t i = 0; i < closed; i++) close[gaps[i]] = true;
  std::vector<Range> result{ranges[0]};
  for (size_t i = 0; i < close.size(); i++) {
    if (close[i]) {
      result.back().second = ranges[i + 1].second;
    } else {
      result.push_back(ranges[i + 1]);
    }
  }
  return result;
}

class Program {
 public:
  explicit Program(const std::vector<Range>& ranges) : ranges_(ranges) {
    if (ranges.empty()) return;
    total_ = size(0, ranges.size());
    code_.reserve(total_);
    emit(0, ranges.size());
  }
  std::vector<uint8_t> take() { return std::move(code_); }

 private:
  // A jump to the very end accepts, one four bytes further rejects (inet_diag_bc_run).
  size_t accept() const { return total_; }
  size_t reject() const { return total_ + 4; }
  bool single(size_t i) const { return ranges_[i].first == ranges_[i].second; }

  size_t size(size_t low, size_t high) const {
    if (high - low == 1) return single(low) ? 12 : 20;
    size_t middle = (low + high) / 2;
    return 8 + size(low, middle) + size(middle, high);
  }

  void operation(uint8_t code, uint8_t yes, size_t target) {
    inet_diag_bc_op op{code, yes, static_cast<uint16_t>(target - code_.size())};
    append(op);
  }
  // Comparisons take their port from the `no` field of a second word and fall through where they hold.
  void compare(uint8_t code, uint16_t port, size_t otherwise) {
    operation(code, 8, otherwise);
    append(inet_diag_bc_op{0, 0, port});
  }
  void append(const inet_diag_bc_op& op) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&op);
    code_.insert(code_.end(), bytes, bytes + sizeof(op));
  }

  // A balanced tree: greater or equal falls through to the right half, less jumps over it to the left one.
  void emit(size_t low, size_t high) {
    if (high - low > 1) {
      size_t middle = (low + high) / 2;
      compare(INET_DIAG_BC_S_GE, ranges_[middle].first, code_.size() + 8 + size(middle, high));
      emit(middle, high);
      emit(low, middle);
      return;
    }
    if (single(low)) {
      compare(INET_DIAG_BC_S_EQ, ranges_[low].first, reject());
    } else {
      compare(INET_DIAG_BC_S_GE, ranges_[low].first, reject());
      compare(INET_DIAG_BC_S_LE, ranges_[low].second, reject());
    }
    operation(INET_DIAG_BC_JMP, 4, accept());
  }

  const std::vector<Range>& ranges_;
  size_t total_ = 0;
  std::vector<uint8_t> code_;
};

}  // namespace

std::vector<uint8_t> portProgram(const std::vector<uint16_t>& ports) {
  std::vector<Range> ranges = coarsen(toRanges(ports), kMaxRanges);
  return Program(ranges).take();
}

}  // namespace berth
