# The image of layoutproxy: one static program without a shell. It does not run as root, and
# its root file system may be read-only. docs/install.md says how to load it without a registry.
#
# GO_IMAGE can be any image with Go 1.26, a shell and CA certificates.
ARG GO_IMAGE=docker.io/library/golang:1.26
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
ARG COMMIT=unknown
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" \
      -o /image/layoutproxy ./cmd/layoutproxy && \
    mkdir -p /writable/cache /image/bundle /image/etc/ssl/certs && \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /writable/ /
USER 65532:65532
# Flags override these. The defaults listen on loopback, which is unreachable from outside of a container.
ENV LAYOUTPROXY_LISTEN=:5000 \
    LAYOUTPROXY_ADMIN_LISTEN=:5580 \
    LAYOUTPROXY_CACHE_DIR=/cache
EXPOSE 5000 5580
# The cache of archive indexes, and the only directory that the program writes to.
VOLUME /cache
# The check sends requests like a client. If the registry uses TLS, set another command, or check /readyz of the
# admin address from outside.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10m \
    CMD ["/layoutproxy", "doctor", "http://127.0.0.1:5000"]
ENTRYPOINT ["/layoutproxy"]
CMD ["serve", "/bundle"]
