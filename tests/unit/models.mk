# Unit tests of kernels, models and workloads.

EXTRA_DIST += tests/golden tests/data/configs tests/data/stories260K

unit_programs += tests/unit/check_llama
tests_unit_check_llama_CFLAGS = $(unit_cflags)
tests_unit_check_llama_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_published
tests_unit_check_published_CFLAGS = $(unit_cflags)
tests_unit_check_published_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_matrix
tests_unit_check_matrix_CFLAGS = $(unit_cflags)
tests_unit_check_matrix_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_bf16
tests_unit_check_bf16_CFLAGS = $(unit_cflags)
tests_unit_check_bf16_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_precision
tests_unit_check_precision_CFLAGS = $(unit_cflags)
tests_unit_check_precision_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_quant
tests_unit_check_quant_CFLAGS = $(unit_cflags)
tests_unit_check_quant_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_kernels
tests_unit_check_kernels_CFLAGS = $(unit_cflags)
tests_unit_check_kernels_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_gate
tests_unit_check_gate_CFLAGS = $(unit_cflags)
tests_unit_check_gate_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_kernel_threads
tests_unit_check_kernel_threads_CFLAGS = $(unit_cflags)
tests_unit_check_kernel_threads_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_safetensors
tests_unit_check_safetensors_CFLAGS = $(unit_cflags)
tests_unit_check_safetensors_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_gguf
tests_unit_check_gguf_CFLAGS = $(unit_cflags)
tests_unit_check_gguf_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_weights
tests_unit_check_weights_CFLAGS = $(unit_cflags)
tests_unit_check_weights_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_styles
tests_unit_check_styles_CFLAGS = $(unit_cflags)
tests_unit_check_styles_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_model
tests_unit_check_model_CFLAGS = $(unit_cflags)
tests_unit_check_model_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_analyze
tests_unit_check_analyze_CFLAGS = $(unit_cflags)
tests_unit_check_analyze_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_synth
tests_unit_check_synth_CFLAGS = $(unit_cflags)
tests_unit_check_synth_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_trace
tests_unit_check_trace_CFLAGS = $(unit_cflags)
tests_unit_check_trace_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_import
tests_unit_check_import_CFLAGS = $(unit_cflags) $(LIBZIP_CFLAGS)
tests_unit_check_import_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_hidden
tests_unit_check_hidden_CFLAGS = $(unit_cflags)
tests_unit_check_hidden_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_tokenizer
tests_unit_check_tokenizer_CFLAGS = $(unit_cflags)
tests_unit_check_tokenizer_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_sentencepiece
tests_unit_check_sentencepiece_CFLAGS = $(unit_cflags)
tests_unit_check_sentencepiece_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_vocabulary
tests_unit_check_vocabulary_CFLAGS = $(unit_cflags)
tests_unit_check_vocabulary_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_forward
tests_unit_check_forward_CFLAGS = $(unit_cflags)
tests_unit_check_forward_LDADD = $(unit_ldadd)

unit_programs += tests/unit/check_generate
tests_unit_check_generate_CFLAGS = $(unit_cflags)
tests_unit_check_generate_LDADD = $(unit_ldadd)
