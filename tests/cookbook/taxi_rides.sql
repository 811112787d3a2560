-- rejected: valid validation_failed 7
-- rows: hours
SELECT hour(pickup_datetime) AS hour, payment_type, count(*) AS rides, sum(trip_distance) AS miles, sum(tip_amount) / nullif(sum(total_amount), 0) AS tip_share,
       avg(date_diff('second', pickup_datetime, dropoff_datetime)) / 60 AS minutes, count(DISTINCT pickup_location_id) AS zones
FROM read_csv('{cases}/great-expectations/test_sets/taxi_yellow_tripdata_samples/yellow_tripdata_sample_2019-01.csv', strict_mode = false)
WHERE passenger_count >= 1 AND total_amount >= 0 AND dropoff_datetime >= pickup_datetime GROUP BY ALL
