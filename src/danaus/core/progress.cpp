#include "danaus/core/progress.h"

namespace danaus {

Progress& no_progress() {
  struct Silent final : Progress {
    void begin(std::string_view, std::uint64_t) override {}
    void update(std::uint64_t) override {}
    void end() override {}
  };
  static Silent silent;
  return silent;
}

}  // namespace danaus
