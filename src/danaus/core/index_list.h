#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "danaus/core/digest.h"

namespace danaus {

/// Numbers of elements, such as the inputs that the blocks of an operator read. Immutable and shared: a copy costs
/// nothing, and lists are compared by their digest.
class IndexList {
 public:
  IndexList() = default;
  explicit IndexList(std::vector<std::uint32_t> numbers);

  std::span<const std::uint32_t> numbers() const;
  std::uint32_t size() const { return static_cast<std::uint32_t>(numbers().size()); }
  Digest digest() const { return content_ ? content_->digest : Digest{}; }

  bool operator==(const IndexList& other) const { return content_ == other.content_ || digest() == other.digest(); }

 private:
  struct Content {
    std::vector<std::uint32_t> numbers;
    Digest digest;
  };
  std::shared_ptr<const Content> content_;
};

}  // namespace danaus
