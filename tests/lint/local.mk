# Lints: the layers' includes, headers alone, manual against --help, format, arm64.

lints = tests/lint/layers.sh tests/lint/headers.sh tests/lint/man.sh tests/lint/format.sh tests/lint/arm64.sh
TESTS += $(lints)
EXTRA_DIST += $(lints)
