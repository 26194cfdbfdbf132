# make bench: every kernel against this machine's roofline, then whole prefills with the share of each
# stage. Tables go to the screen; bench-kernels.csv and bench-prefill.csv are the same for programs.

EXTRA_DIST += tests/bench/compare.sh tests/bench/compare.py
EXTRA_PROGRAMS = kernels/bench tests/bench/prefill
kernels_bench_SOURCES = kernels/bench.c kernels/roof.c kernels/roof.h
kernels_bench_LDADD = $(KERNELS) $(OPENBLAS_LIBS) $(OPENMP_CFLAGS)
tests_bench_prefill_CFLAGS = $(AM_CFLAGS) $(GLIB_CFLAGS) $(JSON_CFLAGS)
tests_bench_prefill_SOURCES = tests/bench/prefill.c kernels/roof.c kernels/roof.h
tests_bench_prefill_LDADD = $(LAYERS) $(LAYER_LIBS)
CLEANFILES = kernels/bench$(EXEEXT) tests/bench/prefill$(EXEEXT) bench-kernels.csv bench-prefill.csv compare.csv

.PHONY: bench
bench: kernels/bench$(EXEEXT) tests/bench/prefill$(EXEEXT)
	kernels/bench --csv bench-kernels.csv
	tests/bench/prefill --make f32 bench-model-f32
	tests/bench/prefill --make bf16 bench-model-bf16
	tests/bench/prefill --csv bench-prefill.csv --tokens 2048 bench-model-f32 bench-model-bf16 olmoe-tiny

.PHONY: clean-bench
clean-local: clean-bench
clean-bench:
	rm -rf bench-model-f32 bench-model-bf16 compare
