# Tests of the moesim command: cases.sh runs every folder of tests/cli/cases, the others are programs of
# their own.

cli_tests = tests/cli/readme.sh tests/cli/cases.sh tests/cli/usage.sh tests/cli/same.sh tests/cli/disk.sh \
	tests/cli/generate.sh tests/cli/resume.sh
# The address sanitizer's memory is not the program's.
if !SANITIZERS
cli_tests += tests/cli/memory.sh
endif
TESTS += $(cli_tests)
EXTRA_DIST += $(cli_tests) tests/cli/cases
