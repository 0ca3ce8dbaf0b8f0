#pragma once

#include "danaus/chip/chip.h"

namespace danaus::chip {

/// Whether columns reach their converters through a switch (adc.sharing), not by wires of their own.
inline bool has_switch(const Chip& chip) { return chip.adc.sharing != AdcSharing::column; }

}  // namespace danaus::chip
