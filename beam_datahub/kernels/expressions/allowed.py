"""The functions that expressions may use: scalar, deterministic, and blind to files, settings and the environment.

Also left out are those whose failure DuckDB cannot pin on a row: distances between lists, and `from_hex` and `from_binary`,
whose messages are not always text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Functions that belong together, for the reference."""

    title: str
    doc: str
    names: frozenset[str]


def words(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


def _group(title: str, doc: str, names: str) -> Group:
    return Group(title, doc, words(names))


FUNCTIONS: tuple[Group, ...] = (
    _group(
        "Operators",
        "Arithmetic, bits, comparison of text and lists, concatenation; written between their operands.",
        "!__postfix ! !~~ !~~* % & && * ** + - ->> / // << <@ >> @ @> ^ ^@ | || ~ ~~ ~~* ~~~ "
        "like_escape not_like_escape ilike_escape not_ilike_escape",
    ),
    _group(
        "Conditions",
        "Choose a value by a condition; `case`, `coalesce`, `is null`, `in` and `between` are part of the language.",
        "if nullif greatest least constant_or_null switch",
    ),
    _group(
        "Text",
        "Change, cut, join, pad and measure text.",
        "ascii bar bit_length char_length character_length chr concat concat_ws contains ends_with format "
        "formatreadabledecimalsize formatreadablesize format_bytes pg_size_pretty instr lcase left left_grapheme len length "
        "length_grapheme lower lpad ltrim nfc_normalize octet_length ord overlay parse_dirname parse_dirpath parse_filename "
        "parse_formatted_bytes parse_path path_join position prefix printf repeat replace reverse right right_grapheme rpad "
        "rtrim split split_part starts_with str_split string_split string_to_array strip_accents strlen strpos substr substring "
        "substring_grapheme suffix translate trim ucase unicode upper url_decode url_encode",
    ),
    _group(
        "Regular expressions",
        "Match, extract, replace and split by RE2 patterns.",
        "regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array "
        "str_split_regex string_split_regex",
    ),
    _group(
        "Likeness of texts",
        "Distances and similarities between two texts.",
        "damerau_levenshtein editdist3 hamming jaccard jaro_similarity jaro_winkler_similarity levenshtein mismatches",
    ),
    _group(
        "Numbers",
        "Arithmetic, rounding, powers, logarithms and number theory.",
        "abs add bit_count cbrt ceil ceiling decimal_division divide even exp factorial fdiv floor fmod gamma gcd "
        "greatest_common_divisor isfinite isinf isnan lcm least_common_multiple lgamma ln log log10 log2 mod multiply nextafter "
        "pi pow power round round_even roundbankers sign signbit sqrt subtract trunc xor",
    ),
    _group(
        "Trigonometry",
        "Angles, in radians unless converted.",
        "acos acosh asin asinh atan atan2 atanh cos cosh cot degrees radians sin sinh tan tanh",
    ),
    _group(
        "Dates and times",
        "Take apart, build, truncate, shift, format and parse dates, times, timestamps and intervals.",
        "age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname "
        "dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian "
        "last_day make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond "
        "millennium millisecond minute month monthname nanosecond normalized_interval quarter second strftime strptime "
        "time_bucket timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds "
        "to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years try_strptime "
        "week weekday weekofyear year yearweek",
    ),
    _group(
        "Lists",
        "Build, cut, search, sort, transform and summarise lists; a lambda is written `lambda x: x + 1` or `x -> x + 1`.",
        "aggregate apply array_aggr array_aggregate array_append array_apply array_cat array_concat array_contains "
        "array_distinct array_extract array_filter array_grade_up array_has array_has_all array_has_any array_indexof "
        "array_intersect array_length array_pop_back array_pop_front array_position array_prepend array_push_back "
        "array_push_front array_reduce array_resize array_reverse array_reverse_sort array_select array_slice array_sort "
        "array_to_string array_to_string_comma_default array_transform array_unique array_value array_where array_zip "
        "cardinality element_at filter flatten generate_series grade_up list_aggr list_aggregate list_any_value list_append "
        "list_apply list_approx_count_distinct list_avg list_bit_and list_bit_or list_bit_xor list_bool_and list_bool_or "
        "list_cat list_concat list_contains list_count list_distinct "
        "list_element list_entropy list_extract list_filter list_first list_grade_up list_has list_has_all "
        "list_has_any list_histogram list_indexof list_intersect list_kurtosis list_kurtosis_pop list_last "
        "list_mad list_max list_median list_min list_mode list_pack "
        "list_position list_prepend list_product list_reduce list_resize list_reverse list_reverse_sort list_select list_sem "
        "list_skewness list_slice list_sort list_stddev_pop list_stddev_samp list_string_agg list_sum list_transform "
        "list_unique list_value list_var_pop list_var_samp list_where list_zip range reduce equi_width_bins",
    ),
    _group(
        "Structs and maps",
        "Build structs and maps, reach into them, change them.",
        "map map_concat map_contains map_contains_entry map_contains_value map_entries map_extract map_extract_value "
        "map_from_entries map_keys map_values remap_struct row struct_concat struct_contains struct_extract struct_extract_at "
        "struct_has struct_indexof struct_insert struct_keys struct_pack struct_position struct_update struct_values",
    ),
    _group(
        "JSON",
        "Build, read, change and compare JSON; a path expression such as `$.doc.items[*].sku` is often shorter.",
        "array_to_json from_json from_json_strict json json_array json_array_length json_contains json_deep_merge json_exists "
        "json_extract json_extract_path json_extract_path_text json_extract_string json_insert json_keys json_merge_patch "
        "json_merge_patch_diff json_normalize json_object json_pretty json_quote json_remove json_replace json_set "
        "json_strip_nulls json_structure json_transform json_transform_strict json_type json_valid json_value row_to_json "
        "to_json",
    ),
    _group(
        "Codes and digests",
        "Encode, decode and digest text and bytes.",
        "base64 bin bit_position bitstring decode encode from_base64 get_bit hash hex md5 md5_number "
        "md5_number_lower md5_number_upper set_bit sha1 sha256 to_base to_base64 to_binary to_hex "
        "uuid_extract_timestamp uuid_extract_version",
    ),
    _group("Types", "The type of a value, and conversion to another's.", "cast_to_type pg_typeof typeof"),
)

AGGREGATES: tuple[Group, ...] = (
    _group("Counts", "How many rows or values.", "approx_count_distinct count count_if count_star countif"),
    _group(
        "Sums and means",
        "Totals and averages.",
        "avg favg fsum geomean geometric_mean kahan_sum mean product sum sum_no_overflow sumkahan wavg weighted_avg",
    ),
    _group(
        "Extremes",
        "The least and the greatest, or the value that goes with them.",
        "arg_max arg_max_null arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin max max_by min min_by",
    ),
    _group(
        "Distribution",
        "Quantiles, spread, shape and frequency.",
        "approx_quantile approx_top_k entropy histogram "
        "histogram_exact kurtosis kurtosis_pop mad median mode quantile quantile_cont quantile_disc sem skewness stddev "
        "stddev_pop stddev_samp var_pop var_samp variance",
    ),
    _group(
        "Two variables",
        "Correlation, covariance and linear regression.",
        "corr covar_pop covar_samp regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy",
    ),
    _group("Truth and bits", "Whether all or any hold; bits combined.", "bit_and bit_or bit_xor bitstring_agg bool_and bool_or"),
    _group(
        "Order",
        "One value, or all of them, in an order that `order by` inside the call gives.",
        "any_value arbitrary array_agg first group_concat json_group_array json_group_object last list listagg string_agg",
    ),
)

SCALAR_NAMES: frozenset[str] = frozenset().union(*(group.names for group in FUNCTIONS))
AGGREGATE_NAMES: frozenset[str] = frozenset().union(*(group.names for group in AGGREGATES))

# Functions whose lambda argument introduces names of its own.
LAMBDA_NAMES: frozenset[str] = words(
    "aggregate apply array_apply array_filter array_reduce array_transform filter list_apply list_filter list_reduce "
    "list_transform reduce"
)

# Functions that break the session when a JSON column holds damaged JSON, unless that is read by another function first.
UNCHECKED_JSON_NAMES: frozenset[str] = words(
    "array_to_json json_array json_array_length json_contains json_deep_merge json_keys json_merge_patch "
    "json_merge_patch_diff json_normalize json_object json_pretty json_quote json_strip_nulls json_structure json_type "
    "row_to_json to_json json_group_array json_group_object"
)

# Aggregates whose result depends on the order of the rows unless the call has an ORDER BY.
ORDERED_NAMES: frozenset[str] = words(
    "any_value approx_top_k arbitrary array_agg first group_concat json_group_array json_group_object last list listagg "
    "string_agg"
)

# Aggregates that take any of several equal candidates; ordering by the value itself settles which.
TIED_NAMES: frozenset[str] = words(
    "arg_max arg_max_null arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin max_by min_by mode"
)

# Names that a clock, a session or the surroundings would answer: calls, and words that need no brackets.
CLOCK_NAMES: frozenset[str] = words(
    "ago current_date current_localtime current_localtimestamp current_time current_timestamp get_current_time "
    "get_current_timestamp localtime localtimestamp now today transaction_timestamp"
)
RANDOM_NAMES: frozenset[str] = words("gen_random_uuid random setseed uuid uuidv4 uuidv7 reservoir_quantile")
SURROUNDING_NAMES: frozenset[str] = words(
    "current_catalog current_connection_id current_database current_query current_query_id current_role current_schema "
    "current_schemas current_setting current_user currval getenv getvariable glob nextval pg_sleep read_blob read_csv "
    "read_csv_auto read_json read_json_auto read_json_objects read_ndjson read_parquet read_text parquet_scan session_user "
    "setval sleep_ms txid_current user version write_log"
)
