"""What SQL and other tools call the things that have another name here."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Each line: names here, and what people call them who come from elsewhere.
_NAMES = """
filtering: filter where
mapping: map select project rename derive compute set assign addcolumn addcolumns withcolumn bloblang
aggregation: groupby group aggregate aggregates summarize summarise summary combine
deduplication: dedupe dedup distinct dropduplicates unique
flatten: explode unnest unwind splitlist
enrichment: lookup enrich
top: sort orderby limit head first
union: concat append merge unionall
route: switch case branch split partition
validation: validate assert expect check
cast: convert astype typecast
normalise: clean standardize standardise
mask: anonymize anonymise redact hash obfuscate
python: script javascript udf pandas pytransform
changes: cdc debezium
unpivot: melt
sql: query
by: groupby groupbykeys groups keys partitionby
measures: aggregates aggregations aggs metrics combine
kind: how jointype type
where: condition predicate filter expression expr keep language
fields: columns mappings select expressions
write_mode: mode disposition loadmode syncmode
overwrite: replace truncate full refresh
merge: upsert update
append: insert add
scd2: type2 snapshot history
key: primarykey pk uniquekey mergekey keys uniqueon
order_by: sortby sort order orderby
limit: n count rows
connector: type format kind plugin
input: from source inputs dependson upstream with
path: url uri file filename location
table: tablename
query: sql statement select
partition_by: partition partitions partitioncolumns
delimiter: separator sep delim fielddelimiter
quote: quotechar quotecharacter
escape: escapechar escapecharacter
skip_rows: skip skiplines skiprows headerlines
null_words: nullvalues navalues nullvalue nulls na nullstring nullif
decimal_point: decimal decimalseparator
thousands: thousandsseparator groupingseparator
records: recordpath rowtag jsonpath selector recordselector
sheet: sheetname tab
columns: widths colspecs
unnest: column field list
parameters: params variables vars args
transformations: steps transforms processors pipeline nodes operations
destinations: sinks targets outputs
destination: sink target output to
sources: inputs extract
source: input
quality_rules: rules checks expectations quality validations
dead_letter: dlq deadletterqueue errors rejects errorhandling
tests: test cases examples
field: column fieldname columnname attribute
completeness: notnull required nonnull missing
uniqueness: unique distinct primarykey
validity: range regex format pattern between in enum acceptedvalues
consistency: referential foreignkey relationships integrity
row_count: volume count
statistics: distribution mean anomaly
freshness: timeliness recency
low: info warn warning
high: error
critical: fatal blocker
report: warn log
reject: drop quarantine discard
fail: stop abort error raise
fixed: tumbling tumble
sliding: hopping hop slide
period: slide hop every step
lateness: grace allowedlateness
zone: timezone tz
on: timestamp time field column keys
column: cursor cursorfield field
incremental: cursor replicationkey bookmark
inline: create generate values static memory
jsonl: ndjson jsonlines
excel: xlsx xls spreadsheet
csv: tsv psv delimited
mysql: mariadb
postgresql: postgres pg psql
mongodb: mongo
rabbitmq: amqp
console: stdout print log
fixed_width: fwf
http: rest api https restapi webhook
coalesce: nvl ifnull isnull
if: iif
upper: toupper uppercase
lower: tolower lowercase
strptime: todate parsedate strtodate totimestamp parsetimestamp
strftime: tochar dateformat formatdate
instr: charindex indexof locate
regexp_matches: regexplike rlike regexpcontains
regexp_extract: regexpsubstr
string_agg: groupconcat listagg
list: collectlist collect
json_extract_string: getjsonobject
left: leftouter
full: outer fullouter
right: rightouter
semi: leftsemi exists
anti: leftanti notexists
decimal: money currency
json: object dict
varchar: str
"""

_HERE: dict[str, list[str]] = {}
for _line in _NAMES.strip().splitlines():
    _name, _, _others = _line.partition(":")
    for _other in _others.split():
        _HERE.setdefault(_other, []).append(_name)


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold())


def names_here(name: str, candidates: Iterable[str]) -> list[str] | None:
    """Which of the candidates a user means by another tool's `name`; None where the name is no such word."""
    here = _HERE.get(_folded(name))
    if here is None:
        return None
    known = set(candidates)
    return [each for each in here if each in known]
