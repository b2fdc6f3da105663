package push

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// State is a directory with everything that a later push needs to resume an interrupted push. It
// has one file per unfinished upload, which contains only the upload's Location. It also has one
// marker file per incomplete push, which names the content of the push. Only the owner can read the files.
// The zero State keeps the same in memory, for later pushes of this process.
type State struct {
	dir string

	mu     sync.Mutex
	memory map[string]string // content by the name of the file
}

// stateLife is the time for which a push tries to resume an upload. Registries drop unfinished
// uploads after some time. Markers do not expire: blobs without tags, or referrers that are not
// listed, stay in the registry until a push completes, and a push may itself take more than a day.
const stateLife = 24 * time.Hour

// OpenState opens the directory dir, and creates it if it is missing. If dir is "", the State is in memory.
func OpenState(dir string) (*State, error) {
	if dir == "" {
		return &State{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &State{dir: dir}
	return s, s.sweep()
}

// CheckWritable returns an error if later processes cannot read what this State stores.
func (s *State) CheckWritable() error {
	if s.dir == "" {
		return errors.New("no directory is set")
	}
	f := s.file("writable") // if the process is killed here, a later sweep removes the file
	if err := durable.WriteFile(f.name, nil, 0o600); err != nil {
		return err
	}
	if err := os.Remove(f.name); !errors.Is(err, fs.ErrNotExist) { // another process may have checked at the same time
		return err
	}
	return nil
}

// sweep removes the expired files of a State, and no others.
func (s *State) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		f := &stateFile{s, filepath.Join(s.dir, e.Name())}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) <= stateLife {
			continue
		}
		if isUnfinished(e.Name()) || isStateFile(e.Name()) && f.Load() == "" {
			_ = os.Remove(f.name)
		}
	}
	return nil
}

const suffix = ".push"

// isStateFile reports whether a file's name is one that a State uses. A State never removes other
// files.
func isStateFile(name string) bool {
	sum, ok := strings.CutSuffix(name, suffix)
	_, err := hex.DecodeString(sum)
	return ok && err == nil && len(sum) == 32 && sum == strings.ToLower(sum)
}

// isUnfinished reports whether a file's name is one that [durable.WriteFile] uses until it renames the file. If the
// process is killed before that, the file stays behind.
func isUnfinished(name string) bool {
	trimmed := strings.TrimRight(name, "0123456789")
	file, ok := strings.CutPrefix(trimmed, ".")
	return ok && trimmed != name && isStateFile(file)
}

// file returns the file for a key. The file implements client.Sessions.
func (s *State) file(key ...string) *stateFile {
	sum := sha256.Sum256([]byte(strings.Join(key, "\n")))
	return &stateFile{s, filepath.Join(s.dir, hex.EncodeToString(sum[:16])+suffix)}
}

// files returns the files of a State. If the directory is unreadable, it returns none.
func (s *State) files() (all []*stateFile) {
	if s.dir == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		for name := range s.memory {
			all = append(all, &stateFile{s, name})
		}
		return all
	}
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if isStateFile(e.Name()) {
			all = append(all, &stateFile{s, filepath.Join(s.dir, e.Name())})
		}
	}
	return all
}

// stateFile is a file of a State, in its directory or in memory.
type stateFile struct {
	in   *State
	name string
}

const maxState = 32 << 20 // maximum size of a file in bytes: enough for a marker of a million manifests

// Load returns the content. If the file is missing, expired or unreadable, it returns the empty string.
func (f *stateFile) Load() string {
	if f.in.dir == "" {
		f.in.mu.Lock()
		defer f.in.mu.Unlock()
		return f.in.memory[f.name]
	}
	info, err := os.Stat(f.name)
	if err != nil {
		return ""
	}
	data, err := plainfile.Read(f.name, maxState)
	if err != nil || time.Since(info.ModTime()) > stateLife && !isMarker(string(data)) {
		return ""
	}
	return string(data)
}

// Save replaces the content durably.
func (f *stateFile) Save(content string) {
	if f.in.dir == "" {
		f.in.mu.Lock()
		defer f.in.mu.Unlock()
		if f.in.memory == nil {
			f.in.memory = map[string]string{}
		}
		f.in.memory[f.name] = content
		return
	}
	_ = durable.WriteFile(f.name, []byte(content), 0o600) // if this fails, a later push starts over
}

// Drop removes the file.
func (f *stateFile) Drop() {
	if f.in.dir == "" {
		f.in.mu.Lock()
		defer f.in.mu.Unlock()
		delete(f.in.memory, f.name)
		return
	}
	if err := os.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Truncate(f.name, 0) // if the file cannot be removed, empty it: an empty file has no effect
	}
}
