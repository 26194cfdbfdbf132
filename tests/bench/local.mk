# make bench: every kernel against this machine's roofline, then whole prefills with the share of each
# stage, then the two sharings of bandwidth. Tables go to the screen; bench-*.csv are the same for
# programs. make bench-network draws the last (plots/network.gp).

EXTRA_DIST += tests/bench/compare.sh tests/bench/compare.py tests/bench/network-epyc.csv
EXTRA_PROGRAMS = kernels/bench tests/bench/prefill tests/bench/network
kernels_bench_SOURCES = kernels/bench.c kernels/roof.c kernels/roof.h
kernels_bench_LDADD = $(KERNELS) $(OPENBLAS_LIBS) $(OPENMP_CFLAGS)
tests_bench_prefill_CFLAGS = $(AM_CFLAGS) $(GLIB_CFLAGS) $(JSON_CFLAGS)
tests_bench_prefill_SOURCES = tests/bench/prefill.c kernels/roof.c kernels/roof.h
tests_bench_prefill_LDADD = $(LAYERS) $(LAYER_LIBS)
tests_bench_network_CFLAGS = $(AM_CFLAGS) $(GLIB_CFLAGS) $(JSON_CFLAGS)
tests_bench_network_SOURCES = tests/bench/network.c
tests_bench_network_LDADD = $(LAYERS) $(LAYER_LIBS)
CLEANFILES = kernels/bench$(EXEEXT) tests/bench/prefill$(EXEEXT) tests/bench/network$(EXEEXT) \
	bench-kernels.csv bench-prefill.csv bench-network.csv bench-network.svg compare.csv

.PHONY: bench bench-network
bench: kernels/bench$(EXEEXT) tests/bench/prefill$(EXEEXT) tests/bench/network$(EXEEXT)
	kernels/bench --csv bench-kernels.csv
	tests/bench/prefill --make f32 bench-model-f32
	tests/bench/prefill --make bf16 bench-model-bf16
	tests/bench/prefill --csv bench-prefill.csv --tokens 2048 bench-model-f32 bench-model-bf16 olmoe-tiny
	tests/bench/network --csv bench-network.csv

bench-network: tests/bench/network$(EXEEXT)
	tests/bench/network --csv bench-network.csv 2048
	gnuplot -e "csv = 'bench-network.csv'; set terminal svg size 480,360; set output 'bench-network.svg'" \
	    $(srcdir)/plots/network.gp

.PHONY: clean-bench
clean-local: clean-bench
clean-bench:
	rm -rf bench-step bench-model-f32 bench-model-bf16 compare
