# Unit tests of topologies and sim.

unit_programs += \
	tests/unit/check_alltoall \
	tests/unit/check_collective \
	tests/unit/check_cost \
	tests/unit/check_encoder \
	tests/unit/check_engine \
	tests/unit/check_fabrics \
	tests/unit/check_golden \
	tests/unit/check_lower \
	tests/unit/check_network \
	tests/unit/check_result \
	tests/unit/check_robust \
	tests/unit/check_run \
	tests/unit/check_scenario \
	tests/unit/check_sharing \
	tests/unit/check_topology \
	tests/unit/check_validate

tests_unit_check_alltoall_CFLAGS = $(unit_cflags)
tests_unit_check_alltoall_LDADD = $(unit_ldadd)
tests_unit_check_collective_CFLAGS = $(unit_cflags)
tests_unit_check_collective_LDADD = $(unit_ldadd)
tests_unit_check_cost_CFLAGS = $(unit_cflags)
tests_unit_check_cost_LDADD = $(unit_ldadd)
tests_unit_check_encoder_CFLAGS = $(unit_cflags)
tests_unit_check_encoder_LDADD = $(unit_ldadd)
tests_unit_check_engine_CFLAGS = $(unit_cflags)
tests_unit_check_engine_LDADD = $(unit_ldadd)
tests_unit_check_fabrics_CFLAGS = $(unit_cflags)
tests_unit_check_fabrics_LDADD = $(unit_ldadd)
tests_unit_check_golden_CFLAGS = $(unit_cflags)
tests_unit_check_golden_LDADD = $(unit_ldadd)
tests_unit_check_lower_CFLAGS = $(unit_cflags)
tests_unit_check_lower_LDADD = $(unit_ldadd)
tests_unit_check_network_CFLAGS = $(unit_cflags)
tests_unit_check_network_LDADD = $(unit_ldadd)
tests_unit_check_result_CFLAGS = $(unit_cflags)
tests_unit_check_result_LDADD = $(unit_ldadd)
tests_unit_check_robust_CFLAGS = $(unit_cflags)
tests_unit_check_robust_LDADD = $(unit_ldadd)
tests_unit_check_run_CFLAGS = $(unit_cflags)
tests_unit_check_run_LDADD = $(unit_ldadd)
tests_unit_check_scenario_CFLAGS = $(unit_cflags)
tests_unit_check_scenario_LDADD = $(unit_ldadd)
tests_unit_check_sharing_CFLAGS = $(unit_cflags)
tests_unit_check_sharing_LDADD = $(unit_ldadd)
tests_unit_check_topology_CFLAGS = $(unit_cflags)
tests_unit_check_topology_LDADD = $(unit_ldadd)
tests_unit_check_validate_CFLAGS = $(unit_cflags)
tests_unit_check_validate_LDADD = $(unit_ldadd)

EXTRA_DIST += \
	tests/data/measured/README.md \
	tests/data/measured/gemm_h800_data.csv \
	tests/data/measured/grouped_gemm_a100_mixtral.csv \
	tests/data/measured/grouped_gemm_decode_h800_data.csv \
	tests/data/measured/grouped_gemm_prefill_h800_data.csv
