ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus-blackbox-exporter \
 && rm -rf /var/lib/apt/lists/*
USER nobody
ENTRYPOINT ["prometheus-blackbox-exporter"]
