package push

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// State keeps on disk what lets a push go on where an earlier one ended: a file an
// upload that is under way, which holds its Location and no more, and one that says
// that a push has begun. Files are for the owner's eyes only.
type State struct {
	dir string
}

// stateLife is how long a session is worth asking for. Registries drop them sooner or later.
const stateLife = 24 * time.Hour

// OpenState opens, and if need be makes, the directory. The empty one keeps nothing.
func OpenState(dir string) (*State, error) {
	if dir == "" {
		return &State{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &State{dir}
	return s, s.sweep()
}

// sweep removes files of a State that are too old, and no other.
func (s *State) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && isStateFile(e.Name()) && info.Mode().IsRegular() && time.Since(info.ModTime()) > stateLife {
			_ = os.Remove(filepath.Join(s.dir, e.Name()))
		}
	}
	return nil
}

const suffix = ".push"

// isStateFile says whether a State makes files of such names: other ones in the
// directory are somebody else's.
func isStateFile(name string) bool {
	sum, ok := strings.CutSuffix(name, suffix)
	_, err := hex.DecodeString(sum)
	return ok && err == nil && len(sum) == 32 && sum == strings.ToLower(sum)
}

// file is the file of some key.
func (s *State) file(key ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(key, "\n")))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+suffix)
}

// session is the file of one upload. It is a client.Sessions.
func (s *State) session(host, repository string, d digest.Digest) *stateFile {
	if s.dir == "" {
		return &stateFile{}
	}
	return &stateFile{s.file(host, repository, d.String())}
}

// begun is the file that says that a push to a destination has begun. Then what the
// registry does not list may be there all the same.
func (s *State) begun(destination string) *stateFile {
	if s.dir == "" {
		return &stateFile{}
	}
	return &stateFile{s.file("push", destination)}
}

// stateFile is one file of the state; without a name it keeps nothing.
type stateFile struct{ name string }

const maxState = 64 << 10 // bytes: a Location is all that is in it

// Load is the content, or "" where there is none that is young enough.
func (f *stateFile) Load() string {
	if f.name == "" {
		return ""
	}
	info, err := os.Stat(f.name)
	if err != nil || time.Since(info.ModTime()) > stateLife {
		return ""
	}
	data, err := plainfile.Read(f.name, maxState)
	if err != nil {
		return ""
	}
	return string(data)
}

// Save replaces the content. It lasts when Save returns.
func (f *stateFile) Save(content string) {
	if f.name == "" {
		return
	}
	_ = durable.WriteFile(f.name, []byte(content), 0o600) // without it the push starts over
}

// Drop removes the file.
func (f *stateFile) Drop() {
	if f.name == "" {
		return
	}
	if err := os.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Truncate(f.name, 0) // what cannot be removed says nothing
	}
}
