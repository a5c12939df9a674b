# make help lists the targets. build and run need Go and make only; test installs what it needs.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
ARGS     ?=
TAGS     ?=
FUZZTIME ?= 10s
BENCH    ?= .
PKG      ?= ./...

.DEFAULT_GOAL := help
.PHONY: help build run test deps clips race lint fuzz e2e bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make run ARGS="--set http.port=80"   passes options to the server'
	@echo '  make race PKG=./pipeline/...         tests some packages only'

build: ## build bin/lineout
	CGO_ENABLED=0 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '-s -w -X main.version=$(VERSION)' -o bin/lineout ./cmd/lineout

run: build ## build and start the server with its defaults
	@exec bin/lineout $(ARGS)

# The steps follow each other also under make -j: they share the machine's cores, and timing is part of what is tested.
test: ## everything: installs what the tests need, lint, tests under the race detector, end to end
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory clips
	@$(MAKE) --no-print-directory race
	@$(MAKE) --no-print-directory e2e

deps:
	tools/install-test-deps.sh
	$(GO) mod verify

clips:
	@$(GO) run ./test/media/make >/dev/null

race: ## tests of all packages (or PKG) under the race detector, with the seeds of the fuzz targets
	CGO_ENABLED=1 $(GO) run ./tools/gotest -race -p 3 -timeout 10m $(PKG)
	$(GO) test -run Allocate ./codecs/convert

lint: ## gofmt, go vet, shell syntax, and a build for every test tag
	@out=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); if [ -n "$$out" ]; then echo "not formatted by gofmt:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags e2e ./test/...
	CGO_ENABLED=0 $(GO) vet -tags static ./codecs/internal/clib ./codecs/speex ./codecs/g729 ./server
	CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/lineout
	CGO_ENABLED=0 $(GO) build -tags static -o /dev/null ./cmd/lineout
	@for f in tools/*.sh .ci/run; do sh -n $$f || exit 1; done

fuzz: ## every fuzz target for FUZZTIME (10s)
	tools/fuzz.sh $(FUZZTIME)

e2e: build clips ## the built server against real phones, browser, RTMP server
	$(GO) run ./tools/gotest -tags e2e -count=1 -parallel 3 -timeout 18m ./test/e2e

bench: build clips ## costs: benchmarks of the packages (BENCH picks), then CPU and memory per call of the running server
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...
	$(GO) test -tags e2e -run '^$$' -bench . -benchtime 1x -timeout 10m ./test/load

clean: ## remove what was built and cached in the tree
	rm -rf bin .cache test/node_modules
