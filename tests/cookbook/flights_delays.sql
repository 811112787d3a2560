-- rows: delays
SELECT origin, hour(strptime(date, '%Y/%m/%d %H:%M')) AS hour, count(*) AS flights, avg(delay) AS mean_delay, max(delay) AS worst,
       count(DISTINCT destination) AS destinations
FROM read_json('{cases}/vega-datasets/data/flights-2k.json', columns = {date: 'VARCHAR', delay: 'BIGINT', origin: 'VARCHAR', destination: 'VARCHAR'})
GROUP BY ALL
