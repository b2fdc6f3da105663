// Registry runs distribution, the registry of the CNCF, for examples/air-gap. It stores its content
// in a directory, and can simulate a dead connection:
//
//	registry [-dead-after N] ADDRESS DIR
//
// With -dead-after, registry reports when N blobs have arrived. From then on, it answers no
// request. If it is started again without the flag, it continues with the content of the directory.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // registers the storage driver "filesystem"

	"github.com/distribution/distribution/v3/registry/handlers"
)

func main() {
	blobs := flag.Int64("dead-after", 0, "stop answering after this many `blobs`; 0 means never")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: registry [-dead-after N] ADDRESS DIR")
		os.Exit(2)
	}
	handler := http.Handler(distribution(flag.Arg(1)))
	if *blobs > 0 {
		handler = deadAfter(*blobs, handler)
	}
	server := &http.Server{Addr: flag.Arg(0), Handler: handler, ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, "registry:", server.ListenAndServe())
	os.Exit(1)
}

// distribution returns a registry that stores its content in a directory.
func distribution(dir string) http.Handler {
	config := &configuration.Configuration{
		Storage: configuration.Storage{"filesystem": configuration.Parameters{"rootdirectory": dir}},
		Catalog: configuration.Catalog{MaxEntries: 1000},
	}
	config.Log.Level = "fatal"
	config.Log.AccessLog.Disabled = true
	// Clients can resume uploads after a restart only if the secret stays the same.
	config.HTTP.Secret = "of an example"
	return handlers.NewApp(context.Background(), config)
}

// deadAfter returns a handler that passes requests to next until the given number of blobs have
// arrived. After that, it does not answer: a request ends only when its client gives up.
func deadAfter(blobs int64, next http.Handler) http.Handler {
	var arrived atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if arrived.Load() >= blobs {
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") && arrived.Add(1) == blobs {
			fmt.Printf("%d blobs have arrived: from now on, the connection is dead\n", blobs)
		}
	})
}
