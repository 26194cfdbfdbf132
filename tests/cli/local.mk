# Tests of the moesim command: cases.sh runs every folder of tests/cli/cases, the others are programs of
# their own.

cli_tests = tests/cli/cases.sh tests/cli/usage.sh tests/cli/readme.sh tests/cli/same.sh tests/cli/disk.sh \
	tests/cli/memory.sh tests/cli/generate.sh tests/cli/resume.sh
TESTS += $(cli_tests)
EXTRA_DIST += $(cli_tests) tests/cli/cases
