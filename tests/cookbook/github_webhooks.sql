-- rows: events
SELECT d ->> '$.action' AS action, d ->> '$.repository.full_name' AS repository,
       left(d ->> '$.repository.owner.login', 2) || repeat('*', length(d ->> '$.repository.owner.login') - 2) AS owner, d ->> '$.sender.login' AS sender,
       NULL AS sender_id, coalesce(d ->> '$.issue.title', d ->> '$.pull_request.title') AS title,
       [l ->> '$' FOR l IN coalesce(d -> '$.issue.labels[*].name', [])] AS labels
FROM (SELECT CAST(content AS JSON) AS d FROM read_text('{cases}/github-webhooks/payload-examples/api.github.com/*/*.json'))
WHERE d ->> '$.sender.login' IS NOT NULL
