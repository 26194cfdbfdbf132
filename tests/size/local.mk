# Models of true size: checkpoint writes them, memory.sh (in tests/cli) traces a small one under a
# bound, full.sh, by hand, the large ones.

check_PROGRAMS += tests/size/checkpoint
tests_size_checkpoint_SOURCES = tests/size/checkpoint.c
tests_size_checkpoint_CFLAGS = $(AM_CFLAGS) $(GLIB_CFLAGS)
tests_size_checkpoint_LDADD = $(GLIB_LIBS) -lm
EXTRA_DIST += tests/size/full.sh
