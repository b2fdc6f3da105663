// Floor is the cheapest possible registry with net/http. Benchmarks compare layoutproxy with it. It
// answers each path from memory or by sendfile. It does not check content or notice changes.
//
//	floor ADDRESS ANSWERS.json
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Answer is the answer for a path: Size bytes of File, beginning at the offset Off.
type Answer struct {
	File      string
	Off, Size int64
	Type      string
	Digest    string
	InMemory  bool

	body                 []byte
	mime, digest, length []string
}

func main() {
	answers := map[string]*Answer{}
	data, err := os.ReadFile(os.Args[2])
	if err == nil {
		err = json.Unmarshal(data, &answers)
	}
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range answers {
		a.mime, a.digest, a.length = []string{a.Type}, []string{a.Digest}, []string{strconv.FormatInt(a.Size, 10)}
		if !a.InMemory {
			continue
		}
		if a.body, err = os.ReadFile(a.File); err != nil {
			log.Fatal(err)
		}
	}
	serve := func(w http.ResponseWriter, req *http.Request) {
		if a := answers[req.URL.Path]; a != nil {
			a.serve(w, req)
			return
		}
		http.NotFound(w, req)
	}
	server := http.Server{Addr: os.Args[1], Handler: http.HandlerFunc(serve), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func (a *Answer) serve(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h["Content-Type"], h["Docker-Content-Digest"] = a.mime, a.digest
	if a.body != nil {
		h["Content-Length"] = a.length
		_, _ = w.Write(a.body)
		return
	}
	f, err := os.Open(a.File)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	first, n, status := int64(0), a.Size, http.StatusOK
	if spec, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok {
		from, to, _ := strings.Cut(spec, "-")
		first, _ = strconv.ParseInt(from, 10, 64)
		last, _ := strconv.ParseInt(to, 10, 64)
		n, status = last-first+1, http.StatusPartialContent
		h.Set("Content-Range", "bytes "+spec+"/"+strconv.FormatInt(a.Size, 10))
	}
	if _, err := f.Seek(a.Off+first, io.SeekStart); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	w.WriteHeader(status)
	_, _ = io.CopyN(w, f, n)
}
