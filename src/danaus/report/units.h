#pragma once

#include <cstdint>
#include <string>

/// Numbers as people read them: four significant digits and a unit that keeps them between 1 and 1000.
namespace danaus::report {

std::string format_count(std::uint64_t count);             ///< "4608", "302.0 M"
std::string format_bytes(std::uint64_t bytes);             ///< "98.89 MB"
std::string format_time(double nanoseconds);               ///< "1.728 us"
std::string format_energy(double nanojoules);              ///< "12.31 uJ"
std::string format_area(double square_millimetres);        ///< "96.10 mm2"
std::string format_rate(double per_second);                ///< "578.7 k/s"
std::string format_percent(double fraction);               ///< "12.5 %"
std::string format_ratio(double value, double reference);  ///< "0.38x"; "" when the reference is 0

}  // namespace danaus::report
