package pull

// SetReached has f called at each point where a crash would be worst.
func (o *Options) SetReached(f func(point string)) { o.reached = f }
