// Package fileid identifies files and their states by device and inode, independently of file names.
package fileid

import (
	"io/fs"
	"sync"
)

// State identifies a file and its state. It changes when the file is written or replaced.
type State struct {
	Device   uint64 `json:"device,omitempty"`
	Inode    uint64 `json:"inode,omitempty"`
	Size     int64  `json:"size,omitempty"`
	Modified int64  `json:"modified,omitempty"` // nanoseconds since 1970
}

// Of returns the state of a file. ok is false if the system cannot identify files.
func Of(info fs.FileInfo) (s State, ok bool) {
	device, inode, ok := identify(info)
	return State{device, inode, info.Size(), info.ModTime().UnixNano()}, ok
}

// SameFile reports whether two states belong to the same file.
func (s State) SameFile(other State) bool {
	return s.Device == other.Device && s.Inode == other.Inode
}

// Set is a set of files. It remembers in which state each file was added. The zero value is an
// empty set. Several goroutines may call its methods at the same time.
type Set struct {
	mu     sync.Mutex
	states map[key]State
}

type key struct{ device, inode uint64 }

// Add adds a regular file in its current state. It ignores anything else, and files that the system
// cannot identify.
func (s *Set) Add(info fs.FileInfo) {
	if state, ok := Of(info); ok && info.Mode().IsRegular() {
		s.AddState(state)
	}
}

// AddState adds the file that a state identifies.
func (s *Set) AddState(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states == nil {
		s.states = map[key]State{}
	}
	s.states[key{state.Device, state.Inode}] = state
}

// Forget removes a file from the set, whatever its state.
func (s *Set) Forget(info fs.FileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if device, inode, ok := identify(info); ok {
		delete(s.states, key{device, inode})
	}
}

// Has reports whether the set contains the file, and whether the file has not changed since it was added.
func (s *Set) Has(info fs.FileInfo) bool {
	state, ok := Of(info)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[key{state.Device, state.Inode}] == state
}

// Len returns the number of files in the set.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.states)
}
