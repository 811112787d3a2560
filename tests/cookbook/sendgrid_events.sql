-- rows: kept
SELECT DISTINCT sg_event_id AS id, event, email, to_timestamp(timestamp) AS at FROM read_json('{cases}/sendgrid-events/events.ndjson', format = 'newline_delimited')
