import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.ServerVersion;
import de.bwaldvogel.mongo.backend.AbstractCursor;
import de.bwaldvogel.mongo.backend.Cursor;
import de.bwaldvogel.mongo.backend.aggregation.Aggregation;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.BsonTimestamp;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerError;
import de.bwaldvogel.mongo.oplog.Oplog;
import io.netty.channel.Channel;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * mongo-java-server with change streams as MongoDB's documentation has them, which its own are not: of a whole database, with
 * keys, replacements, images, removed collections, tokens behind what was sent, the time of each answer, and a log that has a
 * beginning. All documents of one insert have one time, as those of a transaction have.
 */
public final class MongoServer {
    public static void main(String[] arguments) throws Exception {
        ServerVersion[] versions = ServerVersion.values();
        Backend backend = new Backend();
        backend.version(versions[versions.length - 1]);
        backend.enableOplog();
        new de.bwaldvogel.mongo.MongoServer(backend).bind("127.0.0.1", Integer.parseInt(arguments[0]));
        Thread.currentThread().join();
    }

    private static final class Backend extends MemoryBackend {
        private final Log log = new Log(this);

        @Override
        protected Oplog createOplog() {
            return log;
        }

        @Override
        public Document handleCommand(Channel channel, String database, String command, Document query) {
            Document found = super.handleCommand(channel, database, command, query);
            if (found == null) {
                return null;
            }
            found.put("operationTime", log.now());
            if (found.get("cursor") instanceof Document cursor
                    && cursor.get("id") instanceof Long id
                    && id != 0
                    && getCursorRegistry().getCursor(id) instanceof Stream stream) {
                cursor.put("postBatchResumeToken", stream.token);
            }
            return found;
        }

        void keep(Cursor cursor) {
            getCursorRegistry().add(cursor);
        }

        long number() {
            return getCursorRegistry().generateCursorId();
        }
    }

    private static final class Log implements Oplog {
        private final Backend backend;
        private final List<Document> events = new ArrayList<>();
        private final Map<String, Map<Object, Document>> images = new HashMap<>();
        private final BsonTimestamp first = new BsonTimestamp(Instant.now(), 1);
        private BsonTimestamp last = first;

        Log(Backend backend) {
            this.backend = backend;
        }

        synchronized BsonTimestamp now() {
            return last;
        }

        private BsonTimestamp next() {
            int seconds = Math.max((int) Instant.now().getEpochSecond(), last.getTime());
            last = new BsonTimestamp(Instant.ofEpochSecond(seconds), seconds == last.getTime() ? last.getInc() + 1 : 1);
            return last;
        }

        private static boolean own(String namespace) {
            return namespace.startsWith("local.") || namespace.contains(".system.");
        }

        private Document event(String type, String namespace, BsonTimestamp time) {
            String[] parts = namespace.split("\\.", 2);
            Document found = new Document("_id", token(time, "2B%06X".formatted(events.size())));
            found.put("operationType", type);
            found.put("clusterTime", time);
            found.put("wallTime", Instant.now());
            found.put("ns", new Document("db", parts[0]).append("coll", parts[1]));
            events.add(found);
            return found;
        }

        private Map<Object, Document> known(String namespace) {
            return images.computeIfAbsent(namespace, key -> new HashMap<>());
        }

        private static Document key(Object id) {
            return new Document("_id", id);
        }

        @Override
        public synchronized void handleInsert(String namespace, List<Document> documents) {
            if (own(namespace)) {
                return;
            }
            BsonTimestamp time = next();
            for (Document document : documents) {
                Document image = document.cloneDeeply();
                known(namespace).put(document.get("_id"), image);
                event("insert", namespace, time).append("documentKey", key(document.get("_id"))).append("fullDocument", image);
            }
        }

        @Override
        public synchronized void handleUpdate(String namespace, Document selector, Document update, List<Object> ids) {
            if (own(namespace)) {
                return;
            }
            boolean replaced = update.keySet().stream().noneMatch(name -> name.startsWith("$"));
            for (Object id : ids) {
                Document after = current(namespace, id);
                Document before = known(namespace).put(id, after);
                event(replaced ? "replace" : "update", namespace, next()).append("documentKey", key(id))
                        .append("after", after).append("fullDocumentBeforeChange", before);
            }
        }

        @Override
        public synchronized void handleDelete(String namespace, Document query, List<Object> ids) {
            for (Object id : own(namespace) ? List.of() : ids) {
                Document before = known(namespace).remove(id);
                event("delete", namespace, next()).append("documentKey", key(id)).append("fullDocumentBeforeChange", before);
            }
        }

        @Override
        public synchronized void handleDropCollection(String namespace) {
            if (!own(namespace)) {
                images.remove(namespace);
                event("drop", namespace, next());
            }
        }

        Document current(String namespace, Object id) {
            String[] parts = namespace.split("\\.", 2);
            MongoCollection<?> collection = backend.resolveDatabase(parts[0]).resolveCollection(parts[1], false);
            return collection == null ? null : collection.queryAllAsStream()
                    .filter(each -> each.get("_id").equals(id)).findFirst().map(Document::cloneDeeply).orElse(null);
        }

        @Override
        public Cursor createCursor(Document asked, String namespace, Aggregation rest) {
            Object start = asked.get("startAtOperationTime");
            Object after = asked.getOrDefault("startAfter", asked.get("resumeAfter"));
            if (start instanceof BsonTimestamp time && time.getValue() < first.getValue()) {
                throw new MongoServerError(286, "ChangeStreamHistoryLost", "Resume of change stream was not possible, "
                        + "as the resume point may no longer be in the oplog.");
            }
            Stream found = new Stream(this, asked, namespace, rest);
            synchronized (this) {
                while (found.at < events.size() && (after instanceof Document token
                        ? text(events.get(found.at)).compareTo((String) token.get("_data")) <= 0
                        : ((BsonTimestamp) events.get(found.at).get("clusterTime")).compareTo(
                                start == null ? new BsonTimestamp(last.getValue() + 1) : (BsonTimestamp) start) < 0)) {
                    found.at++;
                }
                found.token = after instanceof Document token ? token : token(start == null ? last : (BsonTimestamp) start, "");
            }
            backend.keep(found);
            return found;
        }

        private static String text(Document event) {
            return (String) ((Document) event.get("_id")).get("_data");
        }

        static Document token(BsonTimestamp time, String rest) {
            return new Document("_data", "82%08X%08X%s".formatted(time.getTime(), time.getInc(), rest));
        }

        synchronized List<Document> from(int at, int most) {
            return new ArrayList<>(events.subList(at, Math.min(events.size(), at + most)));
        }
    }

    private static final class Stream extends AbstractCursor {
        private final Log log;
        private final Document asked;
        private final String namespace;
        private final Aggregation rest;
        private int at;
        private boolean begun;
        private Document token;

        Stream(Log log, Document asked, String namespace, Aggregation rest) {
            super(log.backend.number());
            this.log = log;
            this.asked = asked;
            this.namespace = namespace;
            this.rest = rest;
        }

        @Override
        public boolean isEmpty() {
            return false;
        }

        /** The first batch is empty, as MongoDB's is; where nothing has come, the answer waits a little. */
        @Override
        public List<Document> takeDocuments(int most) {
            if (!begun) {
                begun = true;
                return List.of();
            }
            BsonTimestamp now = log.now();
            List<Document> taken = log.from(at, most < 1 ? 101 : most);
            at += taken.size();
            List<Document> found = rest.runStages(taken.stream().filter(this::isWatched).map(this::shown));
            if (!found.isEmpty()) {
                token = (Document) found.get(found.size() - 1).get("_id");
            } else if (taken.isEmpty()) {
                token = Log.token(now, "");
                try {
                    Thread.sleep(20);
                } catch (InterruptedException error) {
                    Thread.currentThread().interrupt();
                }
            }
            return found;
        }

        private boolean isWatched(Document event) {
            Document place = (Document) event.get("ns");
            String[] parts = namespace.split("\\.", 2);
            return place.get("db").equals(parts[0]) && (parts[1].equals("1") || place.get("coll").equals(parts[1]));
        }

        private Document shown(Document event) {
            Document found = event.clone();
            Object after = found.remove("after");
            Object before = found.remove("fullDocumentBeforeChange");
            String type = (String) found.get("operationType");
            String wanted = (String) asked.getOrDefault("fullDocument", "default");
            if (type.equals("replace") || type.equals("update") && wanted.equals("whenAvailable")) {
                found.put("fullDocument", after);
            } else if (type.equals("update") && wanted.equals("updateLookup")) {
                Document place = (Document) found.get("ns");
                Object id = ((Document) found.get("documentKey")).get("_id");
                found.put("fullDocument", log.current(place.get("db") + "." + place.get("coll"), id));
            }
            if (asked.containsKey("fullDocumentBeforeChange") && !type.equals("insert") && !type.equals("drop")) {
                found.put("fullDocumentBeforeChange", before);
            }
            return found;
        }
    }
}
