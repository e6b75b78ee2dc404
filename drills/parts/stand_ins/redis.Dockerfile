ARG BASE
FROM ${BASE}
RUN groupadd --gid 999 redis && useradd --uid 999 --gid 999 redis \
 && apt-get update && apt-get install --yes --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
WORKDIR /data
CMD ["redis-server", "--protected-mode", "no"]
