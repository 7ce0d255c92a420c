//! Many requests at once from one task: all are started before any is awaited.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Futures started before the first of them is awaited. A future of the library takes some kilobytes, so that
/// this many stay in the processor's cache.
const WINDOW: usize = 256;

/// Starts the futures in order, up to 256 at once, then awaits each; outputs in the order of the futures.
///
/// The library queues a frame when its future is first polled, so the frames keep their order. To await one before the
/// next is started would cost a switch to the library's thread and back for each of them. A general join would wake and
/// poll each of them on its own. The boxes of one window are used again for the next.
pub async fn all_in_order<F: Future>(mut futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut outputs = Vec::with_capacity(futures.size_hint().0);
    let mut window: Vec<Started<F>> = Vec::with_capacity(futures.size_hint().0.min(WINDOW));
    loop {
        let mut taken = 0;
        for started in &mut window {
            let Some(future) = futures.next() else { break };
            started.future.set(future);
            taken += 1;
        }
        if taken == window.len() {
            let room = WINDOW - window.len();
            window.extend(futures.by_ref().take(room).map(|future| Started { future: Box::pin(future), output: None }));
            taken = window.len();
        }
        window.truncate(taken);
        if window.is_empty() {
            return outputs;
        }
        poll_fn(|context| {
            for started in &mut window {
                if let Poll::Ready(output) = started.future.as_mut().poll(context) {
                    started.output = Some(output);
                }
            }
            Poll::Ready(())
        })
        .await;
        for started in &mut window {
            outputs.push(match started.output.take() {
                Some(output) => output,
                None => started.future.as_mut().await,
            });
        }
    }
}

struct Started<F: Future> {
    future: Pin<Box<F>>,
    output: Option<F::Output>,
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[tokio::test]
    async fn all_are_started_before_any_is_awaited_and_outputs_keep_their_order() {
        let started = RefCell::new(Vec::new());
        let futures = (0..5_u64).map(|number| {
            let started = &started;
            async move {
                started.borrow_mut().push(number);
                if number != 3 {
                    tokio::task::yield_now().await;
                    assert_eq!(started.borrow().len(), 5);
                }
                number * 10
            }
        });
        assert_eq!(all_in_order(futures).await, [0, 10, 20, 30, 40]);
        assert_eq!(*started.borrow(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn the_next_window_starts_when_the_last_is_done() {
        let (started, done) = (Cell::new(0), Cell::new(0));
        let last = 2 * WINDOW + 7;
        let futures = (0..last).map(|number| {
            let (started, done) = (&started, &done);
            async move {
                assert_eq!(done.get() / WINDOW, number / WINDOW);
                started.set(number + 1);
                tokio::task::yield_now().await;
                assert_eq!(started.get(), last.min((number / WINDOW + 1) * WINDOW));
                done.set(number + 1);
                number
            }
        });
        assert_eq!(all_in_order(futures).await, (0..last).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_comes_of_nothing() {
        assert_eq!(all_in_order(std::iter::empty::<std::future::Ready<()>>()).await, []);
    }
}
