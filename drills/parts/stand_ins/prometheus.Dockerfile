ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/sink && /opt/sink/bin/pip install --quiet opentelemetry-proto \
 && install --directory --owner nobody --group nogroup /prometheus
COPY otlp_sink.py prometheus-start /usr/local/bin/
USER nobody
ENTRYPOINT ["/opt/sink/bin/python", "/usr/local/bin/prometheus-start"]
