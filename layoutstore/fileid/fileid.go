// Package fileid tells files from each other, whatever their names are, and one state of
// a file from the next.
package fileid

import (
	"io/fs"
	"sync"
)

// State is a file in one state. It is another one when the file was written or replaced.
type State struct {
	Device   uint64 `json:"device,omitempty"`
	Inode    uint64 `json:"inode,omitempty"`
	Size     int64  `json:"size,omitempty"`
	Modified int64  `json:"modified,omitempty"` // nanoseconds since 1970
}

// Of is the state of a file. ok is false where the system does not tell files from each
// other.
func Of(info fs.FileInfo) (s State, ok bool) {
	device, inode, ok := identify(info)
	return State{device, inode, info.Size(), info.ModTime().UnixNano()}, ok
}

// SameFile says whether two states are of one file.
func (s State) SameFile(other State) bool {
	return s.Device == other.Device && s.Inode == other.Inode
}

// Set is a set of files, each in the state in which it was added last. The zero value is
// empty. Its methods may be called from several goroutines at once.
type Set struct {
	mu     sync.Mutex
	states map[key]State
}

type key struct{ device, inode uint64 }

// Add adds a regular file. Anything else is ignored, and so is a file that the system does
// not tell from others.
func (s *Set) Add(info fs.FileInfo) {
	if state, ok := Of(info); ok && info.Mode().IsRegular() {
		s.AddState(state)
	}
}

// AddState adds a file in a state.
func (s *Set) AddState(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states == nil {
		s.states = map[key]State{}
	}
	s.states[key{state.Device, state.Inode}] = state
}

// Forget removes a file, in whatever state.
func (s *Set) Forget(info fs.FileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if device, inode, ok := identify(info); ok {
		delete(s.states, key{device, inode})
	}
}

// Has says whether the file is in the set, in the state that it has now.
func (s *Set) Has(info fs.FileInfo) bool {
	state, ok := Of(info)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[key{state.Device, state.Inode}] == state
}

// Len is the number of files.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.states)
}
