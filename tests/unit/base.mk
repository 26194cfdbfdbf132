unit_programs += tests/unit/check_units
tests_unit_check_units_CFLAGS = $(unit_cflags)
tests_unit_check_units_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_error
tests_unit_check_error_CFLAGS = $(unit_cflags)
tests_unit_check_error_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_csv
tests_unit_check_csv_CFLAGS = $(unit_cflags)
tests_unit_check_csv_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_yaml
tests_unit_check_yaml_CFLAGS = $(unit_cflags)
tests_unit_check_yaml_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_field
tests_unit_check_field_CFLAGS = $(unit_cflags)
tests_unit_check_field_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_json
tests_unit_check_json_CFLAGS = $(unit_cflags)
tests_unit_check_json_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_file
tests_unit_check_file_CFLAGS = $(unit_cflags)
tests_unit_check_file_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_preset
tests_unit_check_preset_CFLAGS = $(unit_cflags)
tests_unit_check_preset_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_text
tests_unit_check_text_CFLAGS = $(unit_cflags)
tests_unit_check_text_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_rng
tests_unit_check_rng_CFLAGS = $(unit_cflags)
tests_unit_check_rng_LDADD = $(unit_ldadd)
