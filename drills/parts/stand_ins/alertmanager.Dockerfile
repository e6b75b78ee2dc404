ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus-alertmanager \
 && rm -rf /var/lib/apt/lists/* && install --directory --owner nobody --group nogroup /alertmanager
USER nobody
ENTRYPOINT ["prometheus-alertmanager"]
