VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

.PHONY: build man test full lint bench performance sample screenshots

build: ; CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)" -o dist/layoutproxy ./cmd/layoutproxy
man: ; go run -tags man -ldflags "-X main.version=$(VERSION)" ./cmd/layoutproxy dist/man
test: ; bash .ci/test
full: ; bash .ci/full
lint: ; golangci-lint run ./...
bench: ; go test -run '^$$' -bench . -benchmem ./...
performance: ; cd cmd/layoutproxy/acceptance && LAYOUTPROXY_PERFORMANCE=1 go test -tags full -count 1 -timeout 30m -v -run TestPerformance .
sample: ; go run ./examples/generate
screenshots: ; cd cmd/layoutproxy/acceptance && LAYOUTPROXY_SCREENSHOTS=1 go test -tags full -count 1 -timeout 30m -run TestPage .
