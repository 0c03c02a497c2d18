# hubbleclip with CPU builds of torch, as a user without rights. `docker build --tag hubbleclip .`, then for example
# `docker run --publish 127.0.0.1:8765:8765 --volume hubbleclip:/data hubbleclip serve --host 0.0.0.0 --public`.
FROM python:3.11-slim

WORKDIR /opt/hubbleclip
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY hubbleclip hubbleclip
COPY flows flows
COPY data_contracts data_contracts
COPY tools/install_torch.py tools/
RUN python tools/install_torch.py cpu \
    && pip install --no-cache-dir --constraint constraints.txt '.[agents,cloud,dask,offline]' \
    && useradd --create-home --uid 1000 hubbleclip \
    && install --directory --owner hubbleclip /data

USER 1000
WORKDIR /data
VOLUME /data
ENV HUBBLECLIP_DATA=/data DO_NOT_TRACK=1
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=4)"]
ENTRYPOINT ["hubbleclip"]
CMD ["--help"]
