# The image of layoutproxy: one static program, no shell, not root, and a root file
# system that may be read-only. docs/install.md says how it gets to where there is
# no registry.
#
# GO_IMAGE is any image with Go 1.26, a shell and CA certificates.
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
# Flags of the command line beat these. Inside of a container loopback is of no use.
ENV LAYOUTPROXY_LISTEN=:5000 \
    LAYOUTPROXY_ADMIN_LISTEN=:5580 \
    LAYOUTPROXY_CACHE_DIR=/cache
EXPOSE 5000 5580
# Indexes of archives are kept here; the only place that is written.
VOLUME /cache
# Asks the registry as a client does. Where it speaks TLS give another command, or
# have /readyz of the admin address asked from outside.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10m \
    CMD ["/layoutproxy", "doctor", "http://127.0.0.1:5000"]
ENTRYPOINT ["/layoutproxy"]
CMD ["serve", "/bundle"]
