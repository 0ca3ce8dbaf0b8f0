"""Prints the instances of tests/unit/optimise/oracle_test.cpp with their optima, made with PyPI `highspy`.

    python make_optimise_figures.py

Each line: kind, items, options, budgets, tightness in percent, seed, optimum (-1: there is no solution). Instances that HiGHS does not
solve within two minutes are left out, with a remark on stderr. The test makes the same instances by the same integer arithmetic.
"""

import sys

import highspy

MASK = (1 << 64) - 1


def mixed(*numbers):
    """splitmix64, number by number."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


def instance(kind, items, options, budgets, tightness, seed):
    """[item][option] = (cost, [uses]), [budget]. Kinds: 0 every item different; 1 layers of six equal operators, two of them four
    times as large; 2 the last budget rises with the cheapness of an option, as an error does, so that budgets pull both ways."""
    problem = []
    for item in range(items):
        key = item % 6 if kind == 1 else item
        size = 4 if item % 6 >= 4 else 1
        rows = []
        for option in range(options):
            rise, fall = 900 * option // (options - 1), 900 * (options - 1 - option) // (options - 1)
            cost = size * (100 + rise + mixed(seed, key, option, 0) % 150)
            uses = [size * (100 + fall + mixed(seed, key, option, 1 + b) % 300) for b in range(budgets)]
            if kind == 2:
                uses[-1] = size * (100 + rise + mixed(seed, key, option, budgets) % 600)
            rows.append((cost, uses))
        problem.append(rows)
    limits = []
    for b in range(budgets):
        least = sum(min(uses[b] for _, uses in rows) for rows in problem)
        most = sum(max(uses[b] for _, uses in rows) for rows in problem)
        limits.append(least + (most - least) * tightness // 100)
    return problem, limits


def optimum(problem, limits):
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("time_limit", 120.0)
    solver.setOptionValue("threads", 1)
    first = []
    count = 0
    for rows in problem:
        first.append(count)
        for cost, _ in rows:
            solver.addVar(0, 1)
            solver.changeColCost(count, float(cost))
            solver.changeColIntegrality(count, highspy.HighsVarType.kInteger)
            count += 1
    for begin, rows in zip(first, problem):
        index = list(range(begin, begin + len(rows)))
        solver.addRow(1.0, 1.0, len(index), index, [1.0] * len(index))
    for b, limit in enumerate(limits):
        values = [float(uses[b]) for rows in problem for _, uses in rows]
        solver.addRow(-highspy.kHighsInf, float(limit), count, list(range(count)), values)
    solver.run()
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return -1
    if status != highspy.HighsModelStatus.kOptimal:
        return None
    return round(solver.getInfo().objective_function_value)


def main():
    for kind in (0, 1, 2):
        for options in (5, 12, 20):
            for budgets in (1, 2, 3):
                for tightness in (3, 15, 50):
                    if kind == 2 and (budgets == 1 or tightness == 3):
                        tightness += 25  # these are the hardest that have a solution, or the easiest that have none
                    seed = 100 * options + 10 * budgets + kind
                    case = (kind, 144, options, budgets, tightness, seed)
                    best = optimum(*instance(*case))
                    if best is None:
                        print("not solved:", case, file=sys.stderr)
                        continue
                    print("{" + ", ".join(map(str, (*case, best))) + "},", flush=True)


if __name__ == "__main__":
    main()
