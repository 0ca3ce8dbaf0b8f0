// The digest of an empty list is that of no list, so that both are equal.
#include "danaus/core/index_list.h"

#include <utility>

namespace danaus {

IndexList::IndexList(std::vector<std::uint32_t> numbers) {
  if (numbers.empty()) return;
  const Digest digest = digest_of(std::as_bytes(std::span(numbers)));
  content_ = std::make_shared<const Content>(Content{std::move(numbers), digest});
}

std::span<const std::uint32_t> IndexList::numbers() const {
  return content_ ? std::span<const std::uint32_t>(content_->numbers) : std::span<const std::uint32_t>();
}

}  // namespace danaus
