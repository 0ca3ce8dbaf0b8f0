# make demo   build, fetch a small real model, print what it costs on the default chip
# make test   build with checks and run every test
# The other targets are listed by `make help`.
.DEFAULT_GOAL := help
.PHONY: help build demo tune tune-demo test models bench asan tsan fuzz format lint clean

MODEL := models/SmolLM2-135M-Instruct.Q4_1.gguf
SOURCES = $(shell git ls-files '*.cpp' '*.h')
FUZZ_SECONDS ?= 60

help:
	@echo 'make demo     build, fetch a small real model, compile and time it with all mappings'
	@echo 'make test     build with checks and run every test'
	@echo 'make build    build/danaus (installs what it needs)'
	@echo 'make tune     build with danaus tune, which needs LibTorch'
	@echo 'make tune-demo  with it, four minutes of training: blocks of a real model before and after'
	@echo 'make models   fetch the real models into models/'
	@echo 'make bench    build and run the benchmarks'
	@echo 'make asan     tests under the address and undefined-behaviour sanitizers'
	@echo 'make tsan     tests under the thread sanitizer'
	@echo 'make fuzz     run every fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo 'make format   format the sources; make lint checks them'
	@echo 'make clean    remove build/'

build:
	@scripts/install-dependencies.sh build
	@cmake --preset release -Wno-dev >/dev/null
	@cmake --build --preset release

demo: build
	@if scripts/fetch-models.sh smollm2; then \
	  build/danaus run $(MODEL); \
	else \
	  echo 'SmolLM2 could not be fetched; this is tiny-kjv, a small real model that danaus brings along.' >&2; \
	  build/danaus run tiny-kjv; \
	fi

tune:
	@scripts/install-dependencies.sh build tune
	@cmake --preset tune -Wno-dev >/dev/null
	@cmake --build --preset tune

tune-demo: tune
	@scripts/fetch-models.sh minilm
	@scripts/tune-demo.sh

test:
	@scripts/install-dependencies.sh build test
	@cmake --preset dev -Wno-dev >/dev/null
	@cmake --build --preset dev
	@ctest --preset dev

models:
	@scripts/install-dependencies.sh build
	@scripts/fetch-models.sh

bench:
	@scripts/install-dependencies.sh build test develop
	@cmake --preset bench -Wno-dev >/dev/null
	@cmake --build --preset bench
	@build/bench/bench_project
	@build/bench/bench_dequantise
	@build/bench/bench_devices
	@build/bench/bench_optimise
	@build/bench/bench_analog
	@/usr/bin/python3 bench/compare_d2s.py build/bench/bench_d2s
	@/usr/bin/python3 bench/run_models.py build/bench/danaus

asan tsan:
	@scripts/install-dependencies.sh build test
	@cmake --preset $@ -Wno-dev >/dev/null
	@cmake --build --preset $@
	@ctest --preset $@

fuzz:
	@scripts/install-dependencies.sh build develop
	@cmake --preset fuzz -Wno-dev >/dev/null
	@cmake --build --preset fuzz
	@for target in $$(find build/fuzz -maxdepth 1 -type f -name '*_fuzzer' -executable | sort); do \
	  echo "$$target"; mkdir -p "$$target.found"; \
	  seeds=$$(find tests/data -type d -path "tests/data/$$(basename "$$target" _fuzzer)"); \
	  "$$target" -max_total_time=$(FUZZ_SECONDS) "$$target.found" $$seeds || exit 1; done

format:
	@scripts/install-dependencies.sh develop
	@clang-format-16 -i $(SOURCES)

lint:
	@scripts/install-dependencies.sh build test develop
	@clang-format-16 --dry-run -Werror $(SOURCES)
	@cmake --preset dev -Wno-dev >/dev/null
	@clang-tidy-16 --quiet -p build/dev $(filter src/%.cpp,$(SOURCES))

clean:
	@rm -rf build
