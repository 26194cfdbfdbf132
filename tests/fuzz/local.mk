# Fuzz targets and the replay of their corpora. make fuzz looks for new inputs that break them.

check_PROGRAMS += tests/fuzz/fuzz
tests_fuzz_fuzz_SOURCES = tests/fuzz/fuzz.c tests/fuzz/fuzz.h tests/fuzz/targets.c
tests_fuzz_fuzz_CFLAGS = $(AM_CFLAGS) $(GLIB_CFLAGS) $(JSON_CFLAGS)
tests_fuzz_fuzz_LDADD = $(LAYERS) $(LAYER_LIBS)
if FUZZING
tests_fuzz_fuzz_CPPFLAGS = $(AM_CPPFLAGS) -DFUZZING
tests_fuzz_fuzz_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
else
tests_fuzz_fuzz_CPPFLAGS = $(AM_CPPFLAGS)
TESTS += tests/fuzz/replay.sh
endif
EXTRA_DIST += tests/fuzz/corpus tests/fuzz/fuzz.sh tests/fuzz/replay.sh

.PHONY: fuzz
fuzz:
	$(srcdir)/tests/fuzz/fuzz.sh fuzzing
