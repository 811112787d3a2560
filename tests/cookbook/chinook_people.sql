-- rows: people
WITH d AS (FROM read_json('{cases}/chinook/ChinookData.json.gz', maximum_object_size = 100000000)),
     everyone AS (SELECT c.FirstName, c.LastName, c.Country, c.Email, NULL AS Title, 'customer' AS kind FROM (SELECT unnest(Customer) AS c FROM d)
                  UNION ALL SELECT e.FirstName, e.LastName, e.Country, e.Email, e.Title, 'employee' FROM (SELECT unnest(Employee) AS e FROM d))
SELECT CASE Country WHEN 'Argentina' THEN 'AR' WHEN 'Australia' THEN 'AU' WHEN 'Austria' THEN 'AT' WHEN 'Belgium' THEN 'BE' WHEN 'Brazil' THEN 'BR'
       WHEN 'Canada' THEN 'CA' WHEN 'Chile' THEN 'CL' WHEN 'Czech Republic' THEN 'CZ' WHEN 'Denmark' THEN 'DK' WHEN 'Finland' THEN 'FI' WHEN 'France' THEN 'FR'
       WHEN 'Germany' THEN 'DE' WHEN 'Hungary' THEN 'HU' WHEN 'India' THEN 'IN' WHEN 'Ireland' THEN 'IE' WHEN 'Italy' THEN 'IT' WHEN 'Netherlands' THEN 'NL'
       WHEN 'Norway' THEN 'NO' WHEN 'Poland' THEN 'PL' WHEN 'Portugal' THEN 'PT' WHEN 'Spain' THEN 'ES' WHEN 'Sweden' THEN 'SE' WHEN 'USA' THEN 'US'
       WHEN 'United Kingdom' THEN 'GB' END AS country, Email AS email, Title AS title, kind, FirstName || ' ' || LastName AS name
FROM everyone
