#!/usr/bin/env python3
"""Executes a danaus program over the prime field p = 2^61 - 1 and compares its outputs with the operator graph.

A second proof, independent of the verifier: commands run one after the other on dictionaries of elements; an
activation adds up every programmed cell on a driven row of a read column, as the array would, whatever output the
cell belongs to. Weights, inputs, constants and earlier KV entries are this script's own random numbers; statistics,
activation functions, rotations and softmax weights are keyed hashes. For programs of some ten thousand cells.

    danaus disasm prog.dnx | evaluate.py -
"""
import argparse
import hashlib
import json
import sys

from recount import Attend, Move, Mvm, ProgramTextError, Vec, parse

FIELD = 2**61 - 1
MOST_PRIOR_ENTRIES = 3


class EvaluationError(Exception):
    """The program does something that has no meaning, or computes another function than its graph."""


def random_element(*key):
    """A field element that depends on the whole key; never zero, so that it can be divided by."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little") % (FIELD - 1) + 1


def constant(name, index):
    return 0 if name == "zero" else random_element("constant", name, index)


def sums(vector):
    return sum(vector) % FIELD, sum(value * value for value in vector) % FIELD


class Semantics:
    """What program and graph share: the meaning of the scalar operations and the random numbers."""

    def __init__(self, program, seed):
        self.program = program
        self.seed = seed
        self.nodes = {node.name: node for node in program.nodes}
        starts = {region.start for region in program.regions.values()}
        if len(starts) > 1:
            raise EvaluationError(f"the kv regions start at different positions: {sorted(starts)}")
        self.start = starts.pop() if starts else 0
        self.weights = {}

    def configured(self, number, kind):
        words = self.program.configurations.get(number, [])
        if words[:1] != [kind]:
            raise EvaluationError(f"configuration {number} is not of kind {kind}")
        return words[1:]

    def weight(self, node_name, stage, output, source):
        """Weight of stage `stage` from stage input `source` to stage output `output`; zero where it is padding."""
        key = (node_name, stage, output, source)
        if key not in self.weights:
            shape = self.nodes[node_name].structure
            if stage == "W" and shape.group:
                inside = output < shape.outputs
                if source // shape.kept != output // shape.group:
                    raise EvaluationError(f"{node_name}.W has no weight from {source} to {output}")
            elif stage == "W":
                inside = output < shape.outputs and source < shape.inputs
            elif stage == "R":
                inside = source < shape.inputs and output < shape.k * shape.l * shape.r
                if source // shape.p != output % shape.k:
                    raise EvaluationError(f"{node_name}.R has no weight from {source} to {output}")
            else:
                inside = output < shape.outputs and source < shape.k * shape.l * shape.r
                if source // (shape.k * shape.r) != output // shape.s:
                    raise EvaluationError(f"{node_name}.L has no weight from {source} to {output}")
            self.weights[key] = random_element(self.seed, key) if inside else 0
        return self.weights[key]

    def statistics(self, configuration, total, squares):
        """(sum, sum of squares) -> (mean, 1 / deviation)."""
        kind, *parameters = self.configured(configuration, "norm")
        if kind == "rms":
            return 0, random_element("rms", parameters, squares)
        length = int(parameters[parameters.index("n") + 1])
        return total * pow(length, -1, FIELD) % FIELD, random_element(kind, parameters, total, squares)

    @staticmethod
    def normalised(vector, mean, inverse, gains):
        return [(value - mean) * inverse * gain % FIELD for value, gain in zip(vector, gains)]

    def rotated(self, configuration, vector, token):
        words = self.configured(configuration, "rope")
        values = dict(zip(words[::2], words[1::2]))
        size, half = int(values["size"]), int(values["size"]) // 2
        if len(vector) % size:
            raise EvaluationError(f"a rotation of {len(vector)} elements, the heads have {size}")
        result = list(vector)
        for head in range(0, len(vector), size):
            for pair in range(half):
                first, second = (pair, pair + half) if values["pairs"] == "half" else (2 * pair, 2 * pair + 1)
                key = (values["theta"], size, pair, token + self.start)
                cosine, sine = random_element("cos", key), random_element("sin", key)
                a, b = vector[head + first], vector[head + second]
                result[head + first] = (a * cosine - b * sine) % FIELD
                result[head + second] = (a * sine + b * cosine) % FIELD
        return result

    @staticmethod
    def activated(kind, vector):
        return [random_element(kind, value) for value in vector]

    def prior_entries(self, region):
        size = self.program.regions[region].size
        return [tuple([random_element(self.seed, "prior", region, part, entry, index) for index in range(size)]
                      for part in ("key", "value")) for entry in range(min(self.start, MOST_PRIOR_ENTRIES))]

    @staticmethod
    def attended(entries, queries):
        """Softmax attention of every query head over (key, value) entries; a hash stands for the exponential."""
        size = len(entries[0][0])
        result = []
        for head in range(0, len(queries), size):
            query = queries[head:head + size]
            weights = [random_element("exp", size, sum(q * k for q, k in zip(query, key)) % FIELD)
                       for key, _ in entries]
            scale = pow(sum(weights), -1, FIELD)
            result += [sum(weight * value[index] for weight, (_, value) in zip(weights, entries)) * scale % FIELD
                       for index in range(size)]
        return result


# ---------------------------------------------------------------------------------------------------------- graph


def multiply(semantics, node, vector):
    """The operator of a linear node, stage by stage."""
    shape = node.structure
    if len(vector) != shape.inputs:
        raise EvaluationError(f"{node.name} takes {shape.inputs} elements, its source has {len(vector)}")
    if shape.group:
        return [sum(semantics.weight(node.name, "W", output, index) * vector[shape.selection[index]]
                    for index in range(output // shape.group * shape.kept, (output // shape.group + 1) * shape.kept))
                % FIELD for output in range(shape.outputs)]
    if shape.one_stage:
        return [sum(semantics.weight(node.name, "W", output, index) * value for index, value in enumerate(vector))
                % FIELD for output in range(shape.outputs)]
    middle = [sum(semantics.weight(node.name, "R", u, index) * vector[index]
                  for index in range(u % shape.k * shape.p, min((u % shape.k + 1) * shape.p, shape.inputs))) % FIELD
              for u in range(shape.k * shape.l * shape.r)]
    width = shape.k * shape.r
    return [sum(semantics.weight(node.name, "L", output, u) * middle[u]
                for u in range(output // shape.s * width, (output // shape.s + 1) * width)) % FIELD
            for output in range(shape.outputs)]


def reference(semantics, inputs):
    """name -> values per token; node by node over all tokens, so that attention finds every entry it needs."""
    program = semantics.program
    values = dict(inputs)
    for node in program.nodes:
        sources = [values[source] for source in node.sources]
        result = []
        for token in range(len(sources[0])):
            vector = sources[0][token]
            if node.kind == "linear":
                result.append(multiply(semantics, node, vector))
            elif node.kind == "norm":
                mean, inverse = semantics.statistics(node.configuration, *sums(vector))
                gains = [constant(node.constant, index) for index in range(len(vector))]
                result.append(semantics.normalised(vector, mean, inverse, gains))
            elif node.kind == "bias":
                result.append([(value + constant(node.constant, index)) % FIELD
                               for index, value in enumerate(vector)])
            elif node.kind == "rope":
                result.append(semantics.rotated(node.configuration, vector, token))
            elif node.kind == "add":
                result.append([(a + b) % FIELD for a, b in zip(vector, sources[1][token])])
            elif node.kind == "mul":
                result.append([a * b % FIELD for a, b in zip(vector, sources[1][token])])
            elif node.kind == "attend":
                result.append(attention(semantics, node, sources, token))
            else:
                result.append(semantics.activated(node.kind, vector))
        values[node.name] = result
    return values


def attention(semantics, node, sources, token):
    queries, keys, values = sources
    shape = semantics.program.regions[node.region]
    last = len(keys) if node.all_tokens else token + 1
    result = []
    for head in range(len(keys[0]) // shape.size):
        entries = semantics.prior_entries(node.region + head)
        part = slice(head * shape.size, (head + 1) * shape.size)
        entries += [(keys[other][part], values[other][part]) for other in range(last)]
        width = shape.size * shape.queries
        result += semantics.attended(entries, queries[token][head * width:(head + 1) * width])
    return result


# -------------------------------------------------------------------------------------------------------- program


class Machine:
    """Buffers, arrays and KV entries; reading an element that nobody wrote is an error."""

    def __init__(self, semantics):
        self.semantics = semantics
        self.program = semantics.program
        self.buffers = {}
        self.arrays = {}  # array -> row -> column -> weight
        self.entries = {region: semantics.prior_entries(region) for region in self.program.regions}
        for patch in self.program.patches:
            rows = self.arrays.setdefault(patch.array, {})
            for i in range(patch.rows):
                row = rows.setdefault(patch.row + i, {})
                for j in range(patch.columns):
                    if patch.column + j in row:
                        raise EvaluationError(f"two patches on a{patch.array} {patch.row + i},{patch.column + j}")
                    row[patch.column + j] = semantics.weight(patch.node, patch.stage,
                                                             patch.output_first + j * patch.output_step,
                                                             patch.input_first + i * patch.input_step)
        for location in self.program.constants:
            self.write(location.tile, location.address.elements([0] * 4),
                       [constant(location.name, location.first + index) for index in range(location.length)])

    def read(self, tile, addresses):
        buffer = self.buffers.get(tile, {})
        try:
            return [buffer[address] for address in addresses]
        except KeyError as missing:
            raise EvaluationError(f"t{tile} {missing.args[0]} is read before it is written") from None

    def write(self, tile, addresses, values):
        buffer = self.buffers.setdefault(tile, {})
        for address, value in zip(addresses, values):
            if not 0 <= address < self.program.buffer:
                raise EvaluationError(f"t{tile} {address} is outside the buffer")
            buffer[address] = value

    def activate(self, command, registers):
        tile = self.program.tile_of(command.array)
        columns = command.columns.positions(self.program.columns)
        driven = command.rows.positions(self.program.rows)
        totals = dict.fromkeys(columns, 0)
        cells = self.arrays.get(command.array, {})
        for row, value in zip(driven, self.read(tile, command.source.elements(registers))):
            for column, weight in cells.get(row, {}).items():
                if column in totals:
                    totals[column] += weight * value
        addresses = command.destination.elements(registers)
        before = self.read(tile, addresses) if command.add else [0] * len(addresses)
        self.write(tile, addresses, [(old + totals[column]) % FIELD for old, column in zip(before, columns)])

    def transfer(self, command, registers):
        runs = range(command.source.count)
        values = [self.read(command.tile, command.source.run(run, registers)) for run in runs]
        for member, tile in enumerate(command.targets):
            for run in runs:
                if not command.deal or run == member:
                    self.write(tile, command.destination.run(run, registers), values[run])

    def compute(self, command, registers, token):
        sources = [self.read(command.tile, source.elements(registers)) for source in command.sources]
        vector = sources[0]
        if command.operation == "add":
            result = [(a + b) % FIELD for a, b in zip(vector, sources[1])]
        elif command.operation == "mul":
            result = [a * b % FIELD for a, b in zip(vector, sources[1])]
        elif command.operation == "moments":
            result = sums(vector)
        elif command.operation == "stat":
            result = self.semantics.statistics(command.configuration, *vector)
        elif command.operation == "norm":
            result = self.semantics.normalised(vector, *sources[1], sources[2])
        elif command.operation == "rope":
            result = self.semantics.rotated(command.configuration, vector, token)
        elif command.operation == "gather":
            result = [vector[element] for element in command.picked]
        else:
            result = self.semantics.activated(command.operation, vector)
        self.write(command.tile, command.destination.elements(registers), result)

    def attend(self, command, registers):
        region = command.region + registers[command.region_base]
        tile = self.program.regions[region].tile
        first = self.read(tile, command.first.elements(registers))
        if command.append:
            self.entries[region].append((first, self.read(tile, command.second.elements(registers))))
        elif not self.entries[region]:
            raise EvaluationError(f"kv{region} is read while it is empty")
        else:
            self.write(tile, command.second.elements(registers),
                       self.semantics.attended(self.entries[region], first))

    def execute(self, command, registers, token):
        if isinstance(command, Mvm):
            self.activate(command, registers)
        elif isinstance(command, Move):
            self.transfer(command, registers)
        elif isinstance(command, Vec):
            self.compute(command, registers, token)
        elif isinstance(command, Attend):
            self.attend(command, registers)


def evaluate(program, seed=1):
    """Runs the program for all its tokens; returns the number of output elements compared."""
    if not program.blocks:
        raise EvaluationError("the program has no commands")
    semantics = Semantics(program, seed)
    tokens = max(block.iterations for block in program.blocks)
    inputs = {name: [[random_element(seed, "input", name, token, index) for index in range(size)]
                     for token in range(tokens)] for name, size in program.inputs.items()}
    expected = reference(semantics, inputs)
    machine = Machine(semantics)
    loops = [block for block in program.blocks if block.is_loop] or program.blocks[:1]
    for location in program.locations:
        if location.name in inputs:
            for token in range(tokens):
                machine.write(location.tile, location.address.elements(loops[0].registers(token)),
                              inputs[location.name][token][location.first:location.first + location.length])
    for block in program.blocks:
        for token in range(block.iterations):
            registers = block.registers(token)
            for _, command in block.commands:
                machine.execute(command, registers, token)
    compared = 0
    found = {name: set() for name in program.outputs}
    for location in program.locations:
        if location.name not in found:
            continue
        for token in range(tokens):
            computed = machine.read(location.tile, location.address.elements(loops[-1].registers(token)))
            for index, value in enumerate(computed, location.first):
                if value != expected[location.name][token][index]:
                    raise EvaluationError(f"token {token}: {location.name}[{index}] differs from the graph")
                found[location.name].add((token, index))
                compared += 1
    for name, seen in found.items():
        if len(seen) != tokens * len(expected[name][0]):
            raise EvaluationError(f"output {name} has {len(seen)} located elements of {len(expected[name][0])}")
    return compared


def main(arguments=None):
    parser = argparse.ArgumentParser(description="execute a danaus program over a prime field against its graph")
    parser.add_argument("program", help="text form (danaus disasm), - for standard input")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.program == "-":
        text = sys.stdin.read()
    else:
        with open(options.program, encoding="utf-8") as file:
            text = file.read()
    try:
        compared = evaluate(parse(text), options.seed)
    except ProgramTextError as problem:
        print(f"{options.program}: {problem}", file=sys.stderr)
        return 3
    except EvaluationError as problem:
        print(f"{options.program}: {problem}", file=sys.stderr)
        return 1
    print(json.dumps({"agree": True, "outputs_compared": compared}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
