# Unit tests: one program per module, tests/unit/check_NAME.c, linked with the harness. base.mk,
# models.mk and sim.mk list them by layer.

unit_cflags = $(AM_CFLAGS) $(GLIB_CFLAGS) $(JSON_CFLAGS) $(CHECK_CFLAGS)
unit_ldadd = libharness.a $(LAYERS) $(LAYER_LIBS) $(CHECK_LIBS)

if HAVE_CHECK
check_LIBRARIES = libharness.a
libharness_a_CFLAGS = $(unit_cflags)
libharness_a_SOURCES = \
	tests/unit/alltoalls.c tests/unit/alltoalls.h \
	tests/unit/cluster.c tests/unit/cluster.h \
	tests/unit/harness.c tests/unit/harness.h

unit_programs =
include tests/unit/base.mk
include tests/unit/models.mk
include tests/unit/sim.mk
check_PROGRAMS += $(unit_programs)
TESTS += $(unit_programs)
endif
