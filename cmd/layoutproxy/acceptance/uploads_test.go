package acceptance

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// upload is an upload session. Its data is in memory, because the suite's blobs are small.
type upload struct {
	repository string
	data       []byte
}

// upload handles requests below blobs/uploads/. id is the session; empty means a new upload.
func (f *front) upload(l layout, name, id string, w http.ResponseWriter, req *http.Request) error {
	if id == "" {
		if req.Method != http.MethodPost {
			return errMethod
		}
		return f.begin(l, name, w, req)
	}
	u := f.uploads[id]
	if u == nil || u.repository != name {
		return errUnknown
	}
	w.Header().Set("Location", req.URL.Path)
	switch req.Method {
	case http.MethodGet:
		return u.answer(w, http.StatusNoContent)
	case http.MethodPatch:
		if err := u.append(w, req); err != nil {
			return err
		}
		return u.answer(w, http.StatusAccepted)
	case http.MethodPut:
		if err := u.append(w, req); err != nil {
			return err
		}
		delete(f.uploads, id)
		return f.commitBlob(l, name, req.URL.Query().Get("digest"), u.data, w, req)
	case http.MethodDelete:
		delete(f.uploads, id)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return errMethod
}

// begin mounts a blob, stores a complete blob, or opens an upload session.
func (f *front) begin(l layout, name string, w http.ResponseWriter, req *http.Request) error {
	query := req.URL.Query()
	if d, err := digest.Parse(query.Get("mount")); err == nil {
		data, err := f.find(d, query.Get("from"))
		if err == nil {
			return f.commitBlob(l, name, d.String(), data, w, req)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	u := &upload{repository: name}
	if query.Has("digest") {
		if err := u.append(w, req); err != nil {
			return err
		}
		return f.commitBlob(l, name, query.Get("digest"), u.data, w, req)
	}
	id := rand.Text()
	f.uploads[id] = u
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/uploads/%s", name, id))
	return u.answer(w, http.StatusAccepted)
}

// find reads a blob from one repository or, if from is "", from any repository whose name has two parts,
// as in the suite. The error is fs.ErrNotExist if there is no such blob.
func (f *front) find(d digest.Digest, from string) ([]byte, error) {
	if from != "" {
		return os.ReadFile(layout(filepath.Join(f.dir, filepath.FromSlash(from))).blobPath(d))
	}
	found, err := filepath.Glob(layout(filepath.Join(f.dir, "*", "*")).blobPath(d))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	return os.ReadFile(found[0])
}

// append appends a chunk to the data. The chunk must begin where the last chunk ended.
func (u *upload) append(w http.ResponseWriter, req *http.Request) error {
	if r := req.Header.Get("Content-Range"); r != "" {
		var first, last int
		if _, err := fmt.Sscanf(r, "%d-%d", &first, &last); err != nil || first != len(u.data) {
			u.setRange(w)
			return errOutOfOrder
		}
	}
	chunk, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	u.data = append(u.data, chunk...)
	return nil
}

func (u *upload) answer(w http.ResponseWriter, status int) error {
	u.setRange(w)
	w.WriteHeader(status)
	return nil
}

// setRange sets the Range header to the received bytes. The header cannot express zero bytes.
func (u *upload) setRange(w http.ResponseWriter) {
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(u.data)-1, 0)))
}
