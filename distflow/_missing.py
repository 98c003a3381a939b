"""Names of TensorFlow that are not there yet: asking for one says so.

A name leaves its row when it arrives; tests/house/test_missing.py checks that none is in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import missing


def lookup(namespace: str) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a namespace ("" is `tf` itself)."""
    public = f"tf.{namespace}" if namespace else "tf"
    module = f"distflow.{namespace}" if namespace else "distflow"
    return missing.lookup(public, module, NAMES.get(namespace, ""))


NAMES = {
    "": """
        AggregationMethod CriticalSection DeviceSpec Graph IndexedSlices IndexedSlicesSpec
        NoneTensorSpec Operation OptionalSpec RaggedTensor RaggedTensorSpec RegisterGradient
        SparseTensor SparseTensorSpec TensorArray TensorArraySpec approx_top_k audio
        autograph batch_to_space case check_pinned compat cond conv
        conv2d_backprop_filter_v2 conv2d_backprop_input_v2 data distribute edit_distance eig
        eigvals estimator extract_volume_patches feature_column fftnd fingerprint foldl
        foldr function grad_pass_through gradients graph_util guarantee_const hessians
        histogram_fixed_width histogram_fixed_width_bins ifftnd image import_graph_def
        initializers io irfftnd keras load_library load_op_library lookup losses
        make_ndarray make_tensor_proto map_fn matrix_square_root metrics mlir no_gradient
        nondifferentiable_batch_function optimizers parallel_stack qint16 qint32
        qint8 quantization queue quint16 quint8 ragged ragged_fill_empty_rows
        ragged_fill_empty_rows_grad random_index_shuffle required_space_to_batch_paddings
        resource rfftnd saved_model scan sets signal space_to_batch space_to_batch_nd sparse
        summary switch_case sysconfig tpu train types unravel_index variant vectorized_map
        while_loop xla
    """,
    "math": """
        accumulate_n approx_max_k approx_min_k bessel_i0 bessel_i0e bessel_i1 bessel_i1e
        betainc cumulative_logsumexp erfcinv igamma igammac is_non_decreasing
        is_strictly_increasing lbeta ndtri nextafter polygamma segment_max segment_min
        segment_prod sobol_sample unsorted_segment_prod zeta
    """,
    "nn": """
        RNNCellDeviceWrapper RNNCellDropoutWrapper RNNCellResidualWrapper
        all_candidate_sampler approx_max_k approx_min_k atrous_conv2d_transpose
        batch_norm_with_global_normalization collapse_repeated compute_accidental_hits
        ctc_beam_search_decoder ctc_greedy_decoder ctc_loss ctc_unique_labels depth_to_space
        depthwise_conv2d_backprop_filter depthwise_conv2d_backprop_input dilation2d
        embedding_lookup_sparse erosion2d fixed_unigram_candidate_sampler
        fractional_avg_pool fractional_max_pool isotonic_regression
        learned_unigram_candidate_sampler max_pool_with_argmax nce_loss normalize_moments
        safe_embedding_lookup_sparse sampled_softmax_loss space_to_batch space_to_depth
        sufficient_statistics weighted_moments with_space_to_batch
    """,
    "linalg": """
        LinearOperator LinearOperatorAdjoint LinearOperatorBlockDiag
        LinearOperatorBlockLowerTriangular LinearOperatorCirculant LinearOperatorCirculant2D
        LinearOperatorCirculant3D LinearOperatorComposition LinearOperatorDiag
        LinearOperatorFullMatrix LinearOperatorHouseholder LinearOperatorIdentity
        LinearOperatorInversion LinearOperatorKronecker LinearOperatorLowRankUpdate
        LinearOperatorLowerTriangular LinearOperatorPermutation LinearOperatorScaledIdentity
        LinearOperatorToeplitz LinearOperatorTridiag LinearOperatorZeros
        banded_triangular_solve cholesky cholesky_solve det eig eigh eigh_tridiagonal
        eigvals eigvalsh expm inv logdet logm lstsq lu lu_matrix_inverse lu_reconstruct
        lu_solve matrix_rank pinv qr slogdet solve sqrtm svd triangular_solve
        tridiagonal_matmul tridiagonal_solve
    """,
    "strings": """
        bytes_split format ngrams split to_hash_bucket to_hash_bucket_strong unicode_decode
        unicode_decode_with_offsets unicode_encode unicode_script unicode_split
        unicode_split_with_offsets unicode_transcode unsorted_segment_join
    """,
    "debugging": """
        assert_same_float_dtype disable_check_numerics disable_traceback_filtering
        enable_check_numerics enable_traceback_filtering get_log_device_placement
        is_traceback_filtering_enabled set_log_device_placement
    """,
    "errors": """
        OperatorNotAllowedInGraphError UnauthenticatedError
    """,
    "test": """
        Benchmark assert_equal_graph_def benchmark_config create_local_cluster
        disable_with_predicate is_cpu_target_available with_eager_op_as_function
    """,
    "config": """
        LogicalDeviceConfiguration experimental_connect_to_cluster
        experimental_connect_to_host experimental_list_devices
        get_logical_device_configuration optimizer set_logical_device_configuration
        threading
    """,
    "experimental": """
        BatchableExtensionType DynamicRaggedShape ExtensionType ExtensionTypeBatchEncoder
        ExtensionTypeSpec RowPartition StructuredTensor async_clear_error
        async_scope dispatch_for_api dispatch_for_binary_elementwise_apis
        dispatch_for_binary_elementwise_assert_apis dispatch_for_unary_elementwise_apis
        dtensor enable_strict_mode float4_e2m1fn float8_e4m3b11fnuz float8_e4m3fn
        float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz function_executor_type int2 int4 numpy
        register_filesystem_plugin uint2 uint4 unregister_dispatch_for
    """,
    "dtypes": """
        QUANTIZED_DTYPES experimental qint16 qint32 qint8 quint16 quint8 resource variant
    """,
    "train": """
        BytesList CheckpointView ClusterDef Coordinator Example ExponentialMovingAverage Feature
        FeatureList FeatureLists Features FloatList Int64List JobDef SequenceExample ServerDef
        TrackableView
    """,
}
