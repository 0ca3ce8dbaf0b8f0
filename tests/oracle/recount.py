#!/usr/bin/env python3
"""Counts a danaus program again, from its text form alone.

Written from src/danaus/program/README.md and sharing nothing with the compiler or the machines, so that a figure
that both agree on has two independent derivations. Standard library only.

    danaus disasm prog.dnx | recount.py -

What is counted, for all tokens of the program together:
  arrays, cells      arrays that hold a patch, and the cells that patches program
  parameters         of the linear operators, from the structure of each node
  activations        mvm commands times iterations; conversions: columns they read; rounds: of the busiest ADC of each
  weights_read       programmed cells on driven rows of read columns: the coverage figure
  utilisation        parameters / (arrays * rows * cols); array_bound: the arrays that parameters fill without a gap
  unit latency       on the chip `unit`: 10 ns per activation + 1 ns per ADC round, everything else takes no time
"""
import argparse
import heapq
import json
import re
import sys
from bisect import bisect_left
from dataclasses import dataclass, field

SETTLE_NS = 10
ROUND_NS = 1


class ProgramTextError(Exception):
    """The text is not a program as the README describes it."""


# ------------------------------------------------------------------------------------------------ text -> program


@dataclass(frozen=True)
class Window:
    """Runs of neighbouring rows or columns; run q covers first + q*stride + [0, length), modulo the array edge."""
    first: int
    length: int
    count: int
    stride: int

    def positions(self, edge):
        return [(self.first + run * self.stride + position) % edge
                for run in range(self.count) for position in range(self.length)]


@dataclass(frozen=True)
class Address:
    """Element e of run q lies at offset + e*element_stride + q*run_stride + register[base]."""
    offset: int
    length: int = 1
    count: int = 1
    element_stride: int = 1
    run_stride: int = 0
    base: int = 0

    def shaped(self, length, count=1):
        return Address(self.offset, length, count, self.element_stride, self.run_stride, self.base)

    def run(self, index, registers):
        """Addresses of one run, in order."""
        start = self.offset + index * self.run_stride + registers[self.base]
        return [start + element * self.element_stride for element in range(self.length)]

    def elements(self, registers):
        return [address for index in range(self.count) for address in self.run(index, registers)]

    def intervals(self, registers, index=None):
        """The same addresses (of all runs, or of run `index`) as half-open intervals."""
        for run in range(self.count) if index is None else (index,):
            start = self.offset + run * self.run_stride + registers[self.base]
            if self.element_stride == 1:
                yield start, start + self.length
            else:
                for element in range(self.length):
                    address = start + element * self.element_stride
                    yield address, address + 1


@dataclass(frozen=True)
class Mvm:
    array: int
    rows: Window
    columns: Window
    source: Address
    destination: Address
    add: bool


@dataclass(frozen=True)
class Move:
    tile: int
    source: Address
    targets: tuple  # tiles
    destination: Address
    deal: bool


@dataclass(frozen=True)
class Vec:
    tile: int
    operation: str
    length: int
    sources: tuple  # of Address, each with the length that the operation reads
    destination: Address
    configuration: int = 0
    picked: tuple = ()  # gather: elements of the source


@dataclass(frozen=True)
class Attend:
    region: int
    region_base: int
    append: bool
    first: Address   # append: key, context: query
    second: Address  # append: value, context: destination


@dataclass
class Block:
    """A loop, or one pass over the commands between loops (registers and token counter 0)."""
    iterations: int = 1
    serial: bool = False
    is_loop: bool = False
    steps: list = field(default_factory=lambda: [0, 0, 0])
    moduli: list = field(default_factory=lambda: [0, 0, 0])
    commands: list = field(default_factory=list)  # (program position, command)

    def registers(self, iteration):
        """Indexed by the base number of an address; base 0 adds nothing."""
        values = [0]
        for step, modulus in zip(self.steps, self.moduli):
            value = iteration * step
            values.append(value % modulus if modulus else value)
        return values


@dataclass(frozen=True)
class Structure:
    """Of one linear operator. A block operator has k input blocks of `p` and l output blocks of `s`, rank r.

    A gathered operator has one stage W: output o belongs to group o / group, which reads its `kept` inputs of the selection.

    Stage R maps input x of block j = x / p to intermediate u = e*k + j (e = i*r + rho), stage L maps u of block
    i = u / (k*r) to output i*s + [0, s).
    """
    outputs: int
    inputs: int
    k: int = 0  # 0: dense, one stage W
    l: int = 0
    r: int = 0
    in_block: int = 0  # 0: ceil(inputs / k); larger where the operator is padded further
    out_block: int = 0  # 0: ceil(outputs / l)
    trimmed: bool = False  # the last blocks end with the operator; k and l count live blocks only
    group: int = 0  # 0: not gathered
    kept: int = 0
    selection: tuple = ()

    @property
    def one_stage(self):
        return self.k == 0

    @property
    def p(self):
        return self.in_block or -(-self.inputs // self.k)

    @property
    def s(self):
        return self.out_block or -(-self.outputs // self.l)

    @property
    def parameters(self):
        if self.one_stage:
            return self.outputs * (self.kept if self.group else self.inputs)
        inputs = self.inputs if self.trimmed else self.k * self.p
        outputs = self.outputs if self.trimmed else self.l * self.s
        return self.r * (self.l * inputs + self.k * outputs)


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    sources: tuple
    constant: str = ""
    configuration: int = 0
    structure: Structure = None
    region: int = 0
    all_tokens: bool = False


@dataclass(frozen=True)
class Patch:
    array: int
    row: int
    column: int
    rows: int
    columns: int
    node: str
    stage: str
    input_first: int
    input_step: int
    output_first: int
    output_step: int


@dataclass(frozen=True)
class Location:
    """An `at` or `const` line: elements [first, first + length) of `name` at (tile, address)."""
    name: str
    first: int
    length: int
    tile: int
    address: Address


@dataclass(frozen=True)
class Region:
    tile: int
    queries: int
    size: int
    capacity: int
    start: int


@dataclass
class Program:
    rows: int = 0
    columns: int = 0
    adcs: int = 0
    arrays: int = 0
    arrays_per_tile: int = 0
    buffer: int = 0
    chips: int = 1
    each: int = 0  # arrays dealt to a chip; 0: one chip has all
    configurations: dict = field(default_factory=dict)  # number -> words
    regions: dict = field(default_factory=dict)
    groups: dict = field(default_factory=dict)
    lists: dict = field(default_factory=dict)
    inputs: dict = field(default_factory=dict)  # name -> size
    nodes: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    locations: list = field(default_factory=list)
    constants: list = field(default_factory=list)
    patches: list = field(default_factory=list)
    blocks: list = field(default_factory=list)

    def tile_of(self, array):
        """A chip's arrays are grouped into tiles, the last with what is left; tiles are numbered chip by chip."""
        if not self.each:
            return array // self.arrays_per_tile
        share, number = divmod(array, self.each)
        return share * -(-self.each // self.arrays_per_tile) + number // self.arrays_per_tile

    def cells_of(self, array):
        """The array itself: those beyond all chips are further passes over the same cells."""
        return array % (self.each * self.chips) if self.each else array


NUMBER = r"(-?\d+)"
WINDOW = re.compile(rf"{NUMBER}(?:\+(\d+))?(?:x(\d+)(?:\^{NUMBER})?)?$")
PLACE = re.compile(rf"{NUMBER}(?:\*{NUMBER})?(?:\^{NUMBER})?(?:@([0-3]))?$")
RANGE = re.compile(rf"{NUMBER}(?:\+(\d+))?(?:\*{NUMBER})?(?:x(\d+))?(?:\^{NUMBER})?(?:@([0-3]))?$")


def matched(pattern, word, what):
    found = pattern.match(word)
    if not found:
        raise ProgramTextError(f"'{word}' is not a {what}")
    return found.groups()


def number_or(word, default):
    return default if word is None else int(word)


def prefixed(word, prefix):
    if not re.match(rf"{prefix}\d+$", word):
        raise ProgramTextError(f"'{word}' is not {prefix} and a number")
    return int(word[len(prefix):])


def parse_window(word, prefix):
    if not word.startswith(prefix):
        raise ProgramTextError(f"'{word}' does not start with {prefix}")
    first, length, count, stride = matched(WINDOW, word[1:], "window")
    return Window(int(first), number_or(length, 1), number_or(count, 1), number_or(stride, 0))


def parse_place(word):
    offset, element_stride, run_stride, base = matched(PLACE, word, "place")
    return Address(int(offset), 1, 1, number_or(element_stride, 1), number_or(run_stride, 0), number_or(base, 0))


def parse_range(word):
    offset, length, element_stride, count, run_stride, base = matched(RANGE, word, "range")
    return Address(int(offset), number_or(length, 1), number_or(count, 1), number_or(element_stride, 1),
                   number_or(run_stride, 0), number_or(base, 0))


def parse_pair(word, separator):
    parts = word.split(separator)
    if len(parts) != 2:
        raise ProgramTextError(f"'{word}' is not two numbers with {separator}")
    return int(parts[0]), int(parts[1])


def parse_stepped(word):
    first, _, step = word.partition("*")
    return int(first), int(step) if step else 1


def parse_structure(program, size, words):
    outputs, inputs = parse_pair(size, "x")
    if len(words) == 4 and words[0] == "gather" and words[2] == "list":
        group, kept = parse_pair(words[1], ":")
        selection = program.lists[int(words[3])]
        groups = -(-outputs // group)
        if len(selection) != groups * kept or max(selection) >= inputs:
            raise ProgramTextError(f"list {words[3]} is no selection of {groups} groups")
        return Structure(outputs, inputs, group=group, kept=kept, selection=selection)
    if words == ["dense"]:
        return Structure(outputs, inputs)
    if len(words) >= 2 and words[0] == "blocks":
        found = re.match(r"(\d+)x(\d+):(\d+)$", words[1])
        if found:
            k, l, r = map(int, found.groups())
            in_block, out_block, rest = 0, 0, words[2:]
            if len(rest) >= 2 and rest[0] == "size":
                (in_block, out_block), rest = parse_pair(rest[1], "x"), rest[2:]
            if rest in ([], ["trim"]):
                return Structure(outputs, inputs, k, l, r, in_block, out_block, trimmed=rest == ["trim"])
    raise ProgramTextError(f"unknown structure '{' '.join(words)}'")


def parse_node(program, words):
    name, kind, rest = words[0], words[1], words[2:]
    configuration = 0
    if "cfg" in rest:
        at = rest.index("cfg")
        configuration, rest = int(rest[at + 1]), rest[:at]
    if kind == "linear":
        return Node(name, kind, (rest[0],), structure=parse_structure(program, rest[1], rest[2:]))
    if kind in ("norm", "bias"):
        return Node(name, kind, (rest[0],), constant=rest[1], configuration=configuration)
    if kind in ("rope", "silu", "gelu", "gelu_tanh", "relu"):
        return Node(name, kind, (rest[0],), configuration=configuration)
    if kind in ("add", "mul"):
        return Node(name, kind, (rest[0], rest[1]))
    if kind == "attend":
        if rest[3] != "kv":
            raise ProgramTextError("an attend node names no kv region")
        return Node(name, kind, tuple(rest[:3]), region=int(rest[4]), all_tokens=rest[5:] == ["all"])
    raise ProgramTextError(f"unknown node kind '{kind}'")


def parse_patch(words):
    array, corner, size, stage, in_word, input_map, out_word, output_map = words
    if (in_word, out_word) != ("in", "out"):
        raise ProgramTextError("a patch needs 'in' and 'out'")
    row, column = parse_pair(corner, ",")
    rows, columns = parse_pair(size, "x")
    node, _, letter = stage.rpartition(".")
    return Patch(prefixed(array, "a"), row, column, rows, columns, node, letter, *parse_stepped(input_map),
                 *parse_stepped(output_map))


def parse_group(words):
    members = []
    for word in words:
        first, _, length = word.partition("+")
        tile = prefixed(first, "t")
        members.extend(range(tile, tile + (int(length) if length else 1)))
    return tuple(members)


def parse_location(words):
    first, length = parse_pair(words[1], "+")
    return Location(words[0], first, length, prefixed(words[2], "t"), parse_place(words[3]).shaped(length))


# What an operation reads per source, and writes, for length n.
VEC_SHAPES = {
    "add": (["n", "n"], "n"), "mul": (["n", "n"], "n"), "silu": (["n"], "n"), "gelu": (["n"], "n"),
    "gelu_tanh": (["n"], "n"),
    "relu": (["n"], "n"), "rope": (["n"], "n"), "moments": (["n"], 2), "stat": ([2], 2), "norm": (["n", 2, "n"], "n"),
}


def parse_command(program, words):
    kind, words = words[0], words[1:]
    configuration = 0
    if words and re.match(r"k\d+$", words[-1]):
        configuration, words = int(words[-1][1:]), words[:-1]
    if kind == "mvm":
        array, rows, columns, source, arrow, destination, mode = words
        if arrow != "->" or mode not in ("set", "add"):
            raise ProgramTextError("an mvm is: mvm aN rROWS cCOLUMNS SRC -> DST set|add kC")
        rows, columns = parse_window(rows, "r"), parse_window(columns, "c")
        return Mvm(prefixed(array, "a"), rows, columns, parse_place(source).shaped(rows.length, rows.count),
                   parse_place(destination).shaped(columns.length, columns.count), mode == "add")
    if kind == "move":
        deal = words[-1] == "deal"
        tile, source, arrow, target, destination = words[:-1] if deal else words
        if arrow != "->":
            raise ProgramTextError("a move is: move tN RANGE -> tM|gM PLACE [deal] [kC]")
        source = parse_range(source)
        targets = program.groups[prefixed(target, "g")] if target[0] == "g" else (prefixed(target, "t"),)
        if deal and source.count > len(targets):
            raise ProgramTextError("a dealt move has more runs than the group has members")
        return Move(prefixed(tile, "t"), source, targets, parse_place(destination).shaped(source.length, source.count),
                    deal)
    if kind == "vec":
        tile, operation, length = prefixed(words[0], "t"), words[1], prefixed(words[2], "n")
        if operation == "gather":
            if (words[4], words[6], words[8]) != ("list", "from", "->"):
                raise ProgramTextError("a gather is: vec tN gather nLEN SRC+COUNT list L from FIRST -> DST")
            source, first = parse_range(words[3]), int(words[7])
            picked = program.lists[int(words[5])][first:first + length]
            if len(picked) != length or max(picked) >= source.length:
                raise ProgramTextError("a gather picks what its list or its source does not have")
            return Vec(tile, operation, length, (source,), parse_place(words[9]).shaped(length), picked=picked)
        if operation not in VEC_SHAPES or words[-2] != "->":
            raise ProgramTextError("a vec is: vec tN OP nLEN SRC… -> DST kC")
        reads, writes = VEC_SHAPES[operation]
        places = words[3:-2]
        if len(places) != len(reads) or (operation == "stat" and length != 2):
            raise ProgramTextError(f"{operation} has {len(reads)} sources, stat of one pair")
        sources = tuple(parse_place(place).shaped(length if shape == "n" else shape)
                        for place, shape in zip(places, reads))
        return Vec(tile, operation, length, sources, parse_place(words[-1]).shaped(length if writes == "n" else writes),
                   configuration)
    if kind == "attend":
        region, _, base = words[0].partition("@")
        region = prefixed(region, "kv")
        shape = program.regions[region]
        if words[1] == "append":
            first, second, length = words[2], words[3], shape.size
        elif words[1] == "context" and words[3] == "->":
            first, second, length = words[2], words[4], shape.size * shape.queries
        else:
            raise ProgramTextError("an attend is: attend kvN append K V | attend kvN context Q -> DST")
        return Attend(region, int(base) if base else 0, words[1] == "append", parse_place(first).shaped(length),
                      parse_place(second).shaped(length))
    raise ProgramTextError(f"unknown command '{kind}'")


def parse_loop(words):
    block = Block(iterations=int(words[0]), is_loop=True)
    named = set()
    for word in words[1:]:
        found = re.match(r"b([1-3])\+(\d+)(?:%(\d+))?$", word)
        if word == "serial":
            block.serial = True
        elif found and found.group(1) not in named:
            named.add(found.group(1))
            register = int(found.group(1)) - 1
            block.steps[register] = int(found.group(2))
            block.moduli[register] = number_or(found.group(3), 0)
        else:
            raise ProgramTextError(f"'{word}' is not part of a rep")
    return block


def parse_statement(program, words):
    keyword, rest = words[0], words[1:]
    if keyword in ("danaus", "digest", "note", "sink"):
        return
    if keyword == "chip":
        values = dict(zip(rest[::2], map(int, rest[1::2])))
        program.rows, program.columns, program.adcs = values["rows"], values["cols"], values["adcs"]
        program.arrays, program.arrays_per_tile, program.buffer = values["arrays"], values["tile"], values["buffer"]
        program.chips, program.each = values.get("chips", 1), values.get("each", 0)
    elif keyword == "cfg":
        program.configurations[int(rest[0])] = rest[1:]
    elif keyword == "kv":
        values = dict(zip(rest[1::2], map(int, rest[2::2])))
        program.regions[int(rest[0])] = Region(values["tile"], values["queries"], values["size"], values["capacity"],
                                               values["start"])
    elif keyword == "group":
        program.groups[int(rest[0])] = parse_group(rest[1:])
    elif keyword == "list":
        program.lists[int(rest[0])] = tuple(map(int, rest[1:]))
    elif keyword == "input":
        program.inputs[rest[0]] = int(rest[1])
    elif keyword == "node":
        program.nodes.append(parse_node(program, rest))
    elif keyword == "output":
        program.outputs.append(rest[0])
    elif keyword == "at":
        program.locations.append(parse_location(rest))
    elif keyword == "const":
        program.constants.append(parse_location(rest))
    elif keyword == "patch":
        program.patches.append(parse_patch(rest))
    elif keyword == "copy":
        raise ProgramTextError("programs with copies of arrays are not recounted")
    else:
        raise ProgramTextError(f"unknown statement '{keyword}'")


def parse(text):
    """Text form -> Program; ProgramTextError with the line number when it is not one."""
    program = Program()
    in_code, block, halted = False, Block(), False
    position = 0
    for line_number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            if halted:
                raise ProgramTextError("a statement after halt")
            if not in_code:
                in_code = words == ["code"]
                if not in_code:
                    parse_statement(program, words)
                continue
            if words[0] in ("rep", "end", "halt"):
                if (words[0] == "end") != block.is_loop:
                    raise ProgramTextError("loops do not nest and end with 'end'")
                if block.commands or block.is_loop:
                    program.blocks.append(block)
                block = parse_loop(words[1:]) if words[0] == "rep" else Block()
                halted = words[0] == "halt"
            else:
                block.commands.append((position, parse_command(program, words)))
            position += 1
        except (ProgramTextError, ValueError, KeyError, IndexError) as problem:
            raise ProgramTextError(f"line {line_number}: {line.strip()}: {problem!r}") from problem
    if not halted:
        raise ProgramTextError("no halt")
    return program


# -------------------------------------------------------------------------------------------------------- counting


def adc_rounds(window, columns, adcs):
    """Read columns of the busiest ADC, when column c is wired to ADC c mod adcs."""
    load = [0] * adcs
    for column in window.positions(columns):
        load[column % adcs] += 1
    return max(load)


class Activations:
    """Duration, conversions and weights of the mvm commands; windows repeat, so what they mean is kept."""

    def __init__(self, program):
        self.program = program
        self.patches = {}
        for patch in program.patches:
            if patch.row + patch.rows > program.rows or patch.column + patch.columns > program.columns:
                raise ProgramTextError(f"the patch at {patch.row},{patch.column} of a{patch.array} leaves the array")
            self.patches.setdefault(patch.array, []).append(patch)
        self.rounds_of = {}
        self.mask_of = {}

    def rounds(self, mvm):
        if mvm.columns not in self.rounds_of:
            self.rounds_of[mvm.columns] = adc_rounds(mvm.columns, self.program.columns, self.program.adcs)
        return self.rounds_of[mvm.columns]

    def duration(self, mvm):
        return SETTLE_NS + ROUND_NS * self.rounds(mvm)

    def mask(self, window, edge):
        if (window, edge) not in self.mask_of:
            mask = 0
            for position in window.positions(edge):
                mask |= 1 << position
            self.mask_of[window, edge] = mask
        return self.mask_of[window, edge]

    def read_cells(self, mvm):
        """(patch, number of its cells that the activation reads), for patches that it touches."""
        rows = self.mask(mvm.rows, self.program.rows)
        columns = self.mask(mvm.columns, self.program.columns)
        for patch in self.patches.get(mvm.array, ()):
            driven = bin((rows >> patch.row) & ((1 << patch.rows) - 1)).count("1")
            read = bin((columns >> patch.column) & ((1 << patch.columns) - 1)).count("1")
            if driven and read:
                yield patch, driven * read


def stage_levels(program):
    """(node, stage) -> the number of linear stages on the longest path up to it."""
    level = dict.fromkeys(program.inputs, 0)
    levels = {}
    for node in program.nodes:
        level[node.name] = max(level[source] for source in node.sources)
        if node.kind == "linear":
            for stage in ("W",) if node.structure.one_stage else ("R", "L"):
                level[node.name] += 1
                levels[node.name, stage] = level[node.name]
    return levels


def barrier_latency(program, activations):
    """Sum over levels of the longest work of one array in it: one token, with a barrier after every stage."""
    levels = stage_levels(program)
    work = {}
    for block in program.blocks:
        for _, command in block.commands:
            if isinstance(command, Mvm):
                touched = {levels[patch.node, patch.stage] for patch, _ in activations.read_cells(command)}
                if touched:
                    arrays = work.setdefault(max(touched), {})
                    arrays[command.array] = arrays.get(command.array, 0) + activations.duration(command)
    return sum(max(arrays.values()) for arrays in work.values())


# ------------------------------------------------------------------------------------------------------ scheduling


@dataclass
class Instance:
    """A command of one iteration. Spaces are ("tile", n) or ("kv", n); intervals are (space, begin, end)."""
    token: int
    position: int
    array: int = -1
    duration: int = 0
    add: bool = False
    reads: list = field(default_factory=list)
    writes: list = field(default_factory=list)
    barrier: int = -1      # the instance that ends the previous iteration of a serial loop
    waits_from: int = -1   # for such an instance: the first of its iteration


def on_tile(tile, address, registers, run=None):
    space = ("tile", tile)
    return [(space, begin, end) for begin, end in address.intervals(registers, run)]


def unroll(program, activations):
    """All commands in sequential order, with the elements that each reads and writes."""
    instances = []
    entries = {}  # kv region -> appended so far
    for block in program.blocks:
        barrier = -1
        for iteration in range(block.iterations):
            registers = block.registers(iteration)
            begin = len(instances)
            for position, command in block.commands:
                instance = Instance(iteration, position, barrier=barrier)
                if isinstance(command, Mvm):
                    tile = program.tile_of(command.array)
                    instance.array, instance.add = program.cells_of(command.array), command.add
                    instance.duration = activations.duration(command)
                    instance.reads = on_tile(tile, command.source, registers)
                    instance.writes = on_tile(tile, command.destination, registers)
                elif isinstance(command, Move):
                    instance.reads = on_tile(command.tile, command.source, registers)
                    for member, tile in enumerate(command.targets):
                        if not command.deal:
                            instance.writes += on_tile(tile, command.destination, registers)
                        elif member < command.source.count:
                            instance.writes += on_tile(tile, command.destination, registers, member)
                elif isinstance(command, Vec):
                    for source in command.sources:
                        instance.reads += on_tile(command.tile, source, registers)
                    instance.writes = on_tile(command.tile, command.destination, registers)
                else:
                    region = command.region + registers[command.region_base]
                    tile = program.regions[region].tile
                    count = entries.get(region, 0)
                    instance.reads = on_tile(tile, command.first, registers)
                    if command.append:
                        instance.reads += on_tile(tile, command.second, registers)
                        instance.writes = [(("kv", region), count, count + 1)]
                        entries[region] = count + 1
                    else:
                        instance.reads.append((("kv", region), 0, count))
                        instance.writes = on_tile(tile, command.second, registers)
                instances.append(instance)
            if block.serial:
                barrier = len(instances)
                instances.append(Instance(iteration, -1, waits_from=begin))
    return instances


def dependences(instances):
    """Per instance: what must be complete before it starts, and (for `add`) before it commits.

    All addresses are cut at every end of every access, so that an access is a list of whole pieces and the
    hazards of its elements are found once per piece.
    """
    cuts = {}
    for instance in instances:
        for space, begin, end in instance.reads + instance.writes:
            cuts.setdefault(space, set()).update((begin, end))
    cuts = {space: sorted(points) for space, points in cuts.items()}
    writer = {space: [-1] * len(points) for space, points in cuts.items()}
    readers = {space: [[] for _ in points] for space, points in cuts.items()}

    def pieces(intervals):
        for space, begin, end in intervals:
            points = cuts[space]
            for piece in range(bisect_left(points, begin), bisect_left(points, end)):
                yield space, piece

    before_start, before_commit = [], []
    for index, instance in enumerate(instances):
        start, commit = set(), set()
        start.add(instance.barrier)
        if instance.waits_from >= 0:
            start.update(range(instance.waits_from, index))
        read, written = list(pieces(instance.reads)), list(pieces(instance.writes))
        for space, piece in read:
            start.add(writer[space][piece])
        for space, piece in written:
            (commit if instance.add else start).add(writer[space][piece])
            start.update(readers[space][piece])
        for space, piece in read:
            readers[space][piece].append(index)
        for space, piece in written:
            writer[space][piece] = index
            readers[space][piece] = []
        before_start.append(start - {-1})
        before_commit.append(commit - {-1} - start)
    return before_start, before_commit


def schedule(instances, before_start, before_commit):
    """Start and completion of every instance, in ns.

    At one instant: completions, then commands without duration to a fixed point, then every free array takes
    its oldest ready activation in sequential order (code, a loop's iterations, one loop after the other). An array is free at the end of its own work; an `add`
    completes when the earlier writers of its destination have.
    """
    start_successors = [[] for _ in instances]
    commit_successors = [[] for _ in instances]
    for index in range(len(instances)):
        for predecessor in before_start[index]:
            start_successors[predecessor].append(index)
        for predecessor in before_commit[index]:
            commit_successors[predecessor].append(index)
    waiting_start = [len(predecessors) for predecessors in before_start]
    waiting_commit = [len(predecessors) for predecessors in before_commit]
    started, completed = [-1] * len(instances), [-1] * len(instances)
    worked = [False] * len(instances)
    ready = {}          # array -> heap of instances in sequential order
    busy = set()
    candidates = set()  # arrays that may take an activation now
    events = []         # heap of (end of work, index)
    now = 0

    def make_ready(index, done):
        instance = instances[index]
        if instance.array < 0:
            started[index] = now
            worked[index] = True
            done.append(index)
        else:
            heapq.heappush(ready.setdefault(instance.array, []), index)
            candidates.add(instance.array)

    done = []
    for index, waiting in enumerate(waiting_start):
        if not waiting:
            make_ready(index, done)
    while True:
        while done:
            index = done.pop()
            completed[index] = now
            for successor in start_successors[index]:
                waiting_start[successor] -= 1
                if not waiting_start[successor]:
                    make_ready(successor, done)
            for successor in commit_successors[index]:
                waiting_commit[successor] -= 1
                if not waiting_commit[successor] and worked[successor]:
                    done.append(successor)
        for array in candidates - busy:
            if ready.get(array):
                index = heapq.heappop(ready[array])
                started[index] = now
                busy.add(array)
                heapq.heappush(events, (now + instances[index].duration, index))
        candidates.clear()
        if not events:
            break
        now = events[0][0]
        while events and events[0][0] == now:
            _, index = heapq.heappop(events)
            worked[index] = True
            busy.discard(instances[index].array)
            candidates.add(instances[index].array)
            if not waiting_commit[index]:
                done.append(index)
    if -1 in completed:
        raise AssertionError("the schedule stopped before the last command")
    return started, completed


def critical_path(instances, before_start, before_commit):
    """Latency with an array of its own for every activation: a lower bound."""
    ends = []
    for index, instance in enumerate(instances):
        end = max((ends[other] for other in before_start[index]), default=0) + instance.duration
        ends.append(max([end] + [ends[other] for other in before_commit[index]]))
    return max(ends, default=0)


def recount(program):
    """The figures of the module's description, as a dictionary."""
    activations = Activations(program)
    commands = [(block.iterations, command) for block in program.blocks for _, command in block.commands
                if isinstance(command, Mvm)]
    arrays = len(activations.patches)
    parameters = sum(node.structure.parameters for node in program.nodes if node.kind == "linear")
    size = program.rows * program.columns
    instances = unroll(program, activations)
    before_start, before_commit = dependences(instances)
    started, completed = schedule(instances, before_start, before_commit)
    tokens = max((block.iterations for block in program.blocks), default=0)
    ends = [0] * tokens
    load = {}
    for instance, end in zip(instances, completed):
        ends[instance.token] = max(ends[instance.token], end)
        load[instance.array] = load.get(instance.array, 0) + instance.duration
    return {
        "tokens": tokens,
        "arrays": arrays,
        "cells": sum(patch.rows * patch.columns for patch in program.patches),
        "parameters": parameters,
        "array_bound": -(-parameters // size),
        "utilisation": parameters / (arrays * size) if arrays else 0.0,
        "activations": sum(iterations for iterations, _ in commands),
        "conversions": sum(iterations * mvm.columns.length * mvm.columns.count for iterations, mvm in commands),
        "adc_rounds_total": sum(iterations * activations.rounds(mvm) for iterations, mvm in commands),
        "weights_read": sum(iterations * cells for iterations, mvm in commands
                            for _, cells in activations.read_cells(mvm)),
        "unit_latency_ns": max(completed, default=0),
        "token_ends_ns": ends,
        "barrier_latency_ns": barrier_latency(program, activations),
        "latency_bound_ns": max([critical_path(instances, before_start, before_commit)] + list(load.values())),
        "activation_starts_ns": [[instance.token, instance.array, start]
                                 for instance, start in zip(instances, started) if instance.array >= 0],
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description="count a danaus program again, from its text form")
    parser.add_argument("program", help="text form (danaus disasm), - for standard input")
    parser.add_argument("--starts", action="store_true", help="list the start of every activation too")
    options = parser.parse_args(arguments)
    if options.program == "-":
        text = sys.stdin.read()
    else:
        with open(options.program, encoding="utf-8") as file:
            text = file.read()
    try:
        figures = recount(parse(text))
    except ProgramTextError as problem:
        print(f"{options.program}: {problem}", file=sys.stderr)
        return 3
    if not options.starts:
        del figures["activation_starts_ns"]
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
