#pragma once

#include "danaus/chip/chip.h"
#include "danaus/program/program.h"

/// Columns of blocked wiring: neighbours share a converter there, so what is read together should lie apart.
namespace danaus::compile {

/// Renames the columns of every array, in the program's patches and commands, so that its activations take least time
/// together on a chip whose converters have cols / per_array neighbouring columns each. An activation whose columns
/// make no window under their new names becomes several. Arrays keep their columns where nothing is gained, and all do
/// with adc.sharing = array, group and where the converters do not divide the columns. Without effect on other chips.
void wire_columns(program::Program& program, const chip::Chip& chip);

}  // namespace danaus::compile
