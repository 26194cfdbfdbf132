# Tests of the moesim command: cases.sh runs every folder of tests/cli/cases, the others are programs of
# their own.

cli_tests = tests/cli/cases.sh tests/cli/usage.sh tests/cli/same.sh tests/cli/disk.sh tests/cli/generate.sh \
	tests/cli/resume.sh
# Not under the sanitizers: their memory is not the program's, and the cases show them the same commands.
whole_tests = tests/cli/readme.sh tests/cli/memory.sh
if !SANITIZERS
TESTS += $(whole_tests)
endif
TESTS += $(cli_tests)
EXTRA_DIST += $(cli_tests) $(whole_tests) tests/cli/cases
